/* fastopt: optimizer update rules as fused loops, for C, C++ and whatever can call C.
 *
 * One call is one pass: it reads the parameters, the gradient and the states once, and updates them in place. Before a rule
 * sees an element,
 *
 *     g = clip(g * grad_scale, -clip_value, clip_value) + weight_decay * p
 *     p = p * decay_factor
 *
 * where these four numbers are the first of `numbers`; the rule's own follow, in the order in which its function in
 * fastopt/rules names them. They hold for one step: what depends on the step (bias corrections) is the caller's to put in.
 *
 * Every function is reentrant and keeps no state. Results do not depend on the number of threads, the vector width, or
 * the position of a buffer in memory. Denormals count as zero during a pass; the mode is restored behind it.
 *
 * C99. This file is also what the Python package reads its declarations from.
 */
#ifndef FASTOPT_H
#define FASTOPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FASTOPT_VERSION_MAJOR 0
#define FASTOPT_VERSION_MINOR 1

#define FASTOPT_OK 0
#define FASTOPT_BAD_RULE 1
#define FASTOPT_BAD_LEVEL 2
#define FASTOPT_BAD_NETWORK 3
#define FASTOPT_BAD_BATCH 4
#define FASTOPT_BAD_SUMS 5
#define FASTOPT_NO_MEMORY 6
#define FASTOPT_BAD_STORAGE 7

/* The widest vectors that this processor has. */
#define FASTOPT_BEST_LEVEL -1

typedef struct fastopt_rule fastopt_rule;

/* A rule that is one sweep has its own name; of one with several, each has an entry here ("lamb", then "lamb_apply").
 * Rules by index, 0 to fastopt_rule_count() - 1, or by name; NULL where there is none. The other functions want one. */
int fastopt_rule_count(void);
const fastopt_rule *fastopt_rule_at(int index);
const fastopt_rule *fastopt_find_rule(const char *name);
const char *fastopt_rule_name(const fastopt_rule *rule);
int fastopt_rule_states(const fastopt_rule *rule);
int fastopt_rule_numbers(const fastopt_rule *rule);
int fastopt_rule_sums(const fastopt_rule *rule);

/* Vector widths that this build has and this processor runs, narrowest first; the name of one, "portable" or "avx2" say. */
int fastopt_level_count(void);
const char *fastopt_level_name(int level);

/* 1 where the parallel loops were compiled with OpenMP; 0 where `threads` is ignored. */
int fastopt_has_threads(void);

/* `threads` counts from 1; more than FASTOPT_MOST_THREADS are as many. */
#define FASTOPT_MOST_THREADS 256

/* One pass over n elements. `states` holds one pointer a state. No two buffers may overlap; p or g may be NULL where the
 * sweep does not take it. With `zero_grad`, g is zero afterwards. For a rule with sums, `sums` holds fastopt_sums_size
 * numbers, the first of which become the sums; otherwise it may be NULL. They are added in double in an order that depends
 * on n only. Returns FASTOPT_OK; otherwise nothing was touched. */
size_t fastopt_sums_size(const fastopt_rule *rule, size_t n);
int fastopt_update_f32(const fastopt_rule *rule, size_t n, float *p, float *g, float *const *states,
                       const float *numbers, int zero_grad, double *sums, int threads, int level);
int fastopt_update_f64(const fastopt_rule *rule, size_t n, double *p, double *g, double *const *states,
                       const double *numbers, int zero_grad, double *sums, int threads, int level);

/* The same in float, over buffers of which some are bfloat16, the upper half of a float: p and g, the states, or all. What is
 * stored is rounded: to nearest where `salts` is NULL; otherwise up or down at random, so that its mean is the number.
 *
 * The random bits of an element are a hash of a key of 48 bits, of its buffer's salt, and of its position, which is `position`
 * for the first one, modulo 2^32. The key, another one in each step, is two numbers from 0 to 2^24 - 1 after the others;
 * `salts` holds any number for p, and one for each state. */
#define FASTOPT_BFLOAT16_STATES 0
#define FASTOPT_BFLOAT16_PARAMETERS 1
#define FASTOPT_BFLOAT16 2

typedef struct {
    int kind;
    const uint32_t *salts;
    size_t position;
} fastopt_storage;

int fastopt_update_storage(const fastopt_rule *rule, const fastopt_storage *storage, size_t n, void *p, void *g,
                           void *const *states, const float *numbers, int zero_grad, double *sums, int threads, int level);

/* out = a . b by rows: a has rows x depth numbers; b has depth x columns, or with `transposed` columns x depth. Each element
 * is one chain of multiply-adds in the order of the depth, which begins with zero. */
int fastopt_matmul_f32(size_t rows, size_t columns, size_t depth, const float *a, const float *b, int transposed,
                       float *out, int threads, int level);
int fastopt_matmul_f64(size_t rows, size_t columns, size_t depth, const double *a, const double *b, int transposed,
                       double *out, int threads, int level);

/* A multi-layer perceptron. A layer's weights, inputs x outputs by rows, begin at `offset` of every flat buffer, and its
 * biases follow them. `kink` is the subgradient of relu and leaky relu at zero. */
#define FASTOPT_IDENTITY 0
#define FASTOPT_RELU 1
#define FASTOPT_LEAKY_RELU 2
#define FASTOPT_SIGMOID 3
#define FASTOPT_TANH 4

#define FASTOPT_SOFTMAX_CROSS_ENTROPY 0
#define FASTOPT_BINARY_CROSS_ENTROPY 1
#define FASTOPT_MEAN_SQUARED_ERROR 2

typedef struct {
    size_t inputs, outputs, offset;
    int activation;
} fastopt_layer;

typedef struct {
    const fastopt_layer *layers;
    int count, loss;
    double kink;
} fastopt_network;

/* Training steps over rows[0] to rows[count - 1] of the data, `batch` of them a step, the last on what remains. The update
 * runs inside the backward pass. With `gradients`, nothing is updated: they are overwritten by the gradient of the one
 * step, so that `count` is at most `batch` then. Row numbers and labels have to be in range: they are not looked at first.
 *
 * `inputs` has a row of layers[0].inputs numbers for each sample; of `labels` (class indices, for softmax and squared error)
 * and `values` (a row of outputs a sample) one is NULL. `coefficients` holds two arrays a step, one for weights and one for
 * biases. `workspace` holds fastopt_train_workspace bytes, aligned to 64. The rows' losses are added to
 * `loss`, step by step; `correct` becomes the number of rows predicted right before their step.
 *
 * `storage` is NULL; or, in float only, of the kind FASTOPT_BFLOAT16_STATES: `states` then holds addresses of bfloat16. */
size_t fastopt_train_workspace_f32(const fastopt_network *network, size_t batch, int threads);
size_t fastopt_train_workspace_f64(const fastopt_network *network, size_t batch, int threads);
int fastopt_train_f32(const fastopt_network *network, const fastopt_rule *rule, float *parameters, float *gradients,
                      float *const *states, const float *inputs, const int64_t *labels, const float *values,
                      const int64_t *rows, size_t count, size_t batch, const float *coefficients, void *workspace,
                      double *loss, int64_t *correct, const fastopt_storage *storage, int threads, int level);
int fastopt_train_f64(const fastopt_network *network, const fastopt_rule *rule, double *parameters, double *gradients,
                      double *const *states, const double *inputs, const int64_t *labels, const double *values,
                      const int64_t *rows, size_t count, size_t batch, const double *coefficients, void *workspace,
                      double *loss, int64_t *correct, const fastopt_storage *storage, int threads, int level);

#ifdef __cplusplus
}
#endif

#endif
