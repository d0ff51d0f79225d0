/* fastopt: optimizer update rules as fused loops, for C, C++ and whatever can call C.
 *
 * One call is one pass: it reads the parameters, the gradient and the states once, and updates them in place. Before a rule
 * sees an element,
 *
 *     g = clip(g * grad_scale, -clip_value, clip_value) + weight_decay * p
 *     p = p * decay_factor
 *
 * where these four numbers are the first of `numbers`; the rule's own follow, in the order of the list of rules below. They
 * hold for one step: the caller computes those that depend on the step, such as bias corrections, as the function
 * `coefficients` of the rule's file in fastopt/rules does.
 *
 * Every function is reentrant and keeps no state. Results do not depend on the number of threads, the vector width, or
 * the position of a buffer in memory. Denormals count as zero during a pass; the mode is restored afterwards.
 *
 * C99. Compile fastopt.c with -O3 -fno-math-errno -ffp-contract=off, without which multiply-adds may be contracted and bits
 * differ; with -fopenmp for threads; and link with -lm. The Python package reads its declarations from this file.
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

#include "generated/listing.inc"

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

/* What the buffers of a pass hold. The arithmetic is that of the gradient's type, float where that is bfloat16, which is the
 * upper half of a float. `numbers` are of the arithmetic's type. */
#define FASTOPT_FLOAT32 0
#define FASTOPT_FLOAT64 1
#define FASTOPT_BFLOAT16_STATES 2     /* p and g float, states bfloat16 */
#define FASTOPT_BFLOAT16_PARAMETERS 3 /* p and g bfloat16, states float */
#define FASTOPT_BFLOAT16 4            /* p, g and states bfloat16 */

/* One pass over `size` elements. `states` holds one pointer a state. No two buffers may overlap; p or g may be NULL where the
 * sweep does not take it. For a rule with sums, `sums` holds fastopt_sums_size numbers, the first of which become the sums;
 * otherwise it may be NULL. They are added in double in an order that depends on the size only.
 *
 * A bfloat16 is rounded to nearest where `salts` is NULL; otherwise up or down at random, so that its mean is the number. The
 * random bits of an element are a hash of a key of 48 bits, of its buffer's salt, and of its position, which is `position`
 * for the first element, modulo 2^32. The key, another one in each step, is two numbers from 0 to 2^24 - 1 that follow the
 * other numbers; `salts` holds any number for p, and one for each state. */
typedef struct {
    const fastopt_rule *rule;
    size_t size;
    void *p, *g;
    void *const *states;
    const void *numbers;
    double *sums;
    int storage;
    const uint32_t *salts;
    size_t position;
} fastopt_pass;

size_t fastopt_sums_size(const fastopt_rule *rule, size_t n);

/* Run it; with `zero_grad`, g is zero afterwards, if there is one. Returns FASTOPT_OK; otherwise nothing was touched. */
int fastopt_run(const fastopt_pass *pass, int zero_grad, int threads, int level);

/* out = a . b by rows: a has rows x depth numbers; b has depth x columns, or with `transposed` columns x depth. Each element
 * is one chain of multiply-adds in the order of the depth, which begins with zero. */
int fastopt_matmul_f32(size_t rows, size_t columns, size_t depth, const float *a, const float *b, int transposed,
                       float *out, int threads, int level);
int fastopt_matmul_f64(size_t rows, size_t columns, size_t depth, const double *a, const double *b, int transposed,
                       double *out, int threads, int level);

/* Activations and losses by the names of their functions in fastopt/elements ("relu", "mean_squared_error"); NULL where
 * there is none. */
typedef struct fastopt_activation fastopt_activation;
typedef struct fastopt_loss fastopt_loss;

const fastopt_activation *fastopt_find_activation(const char *name);
const fastopt_loss *fastopt_find_loss(const char *name);

/* A multi-layer perceptron. A layer's weights, inputs x outputs by rows, begin at `offset` of every flat buffer, and its
 * biases follow them. `kink` chooses the subgradient of relu and leaky relu at zero, between the slopes to the left (0) and
 * to the right (1). */
typedef struct {
    size_t inputs, outputs, offset;
    const fastopt_activation *activation;
} fastopt_layer;

typedef struct {
    const fastopt_layer *layers;
    const fastopt_loss *loss;
    int count;
    double kink;
} fastopt_network;

/* Training steps over rows[0] to rows[count - 1] of the data, `batch` of them a step, the last on what remains. The update
 * runs inside the backward pass. With `gradients`, nothing is updated: they are overwritten by the gradient of the one
 * step, so that `count` is at most `batch` then, and `rule` and `coefficients` may be NULL.
 * Row numbers and labels have to be in range: they are not looked at first.
 *
 * `inputs` has a row of layers[0].inputs numbers for each sample; of `labels` (class indices, for softmax_cross_entropy and
 * losses of values) and `values` (a row of outputs a sample, for all but softmax_cross_entropy) one is NULL. `coefficients`
 * holds two arrays a step, one for weights and one for biases, with the key at the end of each where there are salts.
 * `workspace` holds fastopt_train_workspace bytes, aligned to 64. The rows' losses are added to `loss`, step by step;
 * `correct` becomes the number of rows predicted right before their step.
 *
 * `storage` is FASTOPT_FLOAT32 or FASTOPT_FLOAT64, as the function's type, or of float FASTOPT_BFLOAT16_STATES; `salts` are those of a pass. */
size_t fastopt_train_workspace_f32(const fastopt_network *network, size_t batch, int threads);
size_t fastopt_train_workspace_f64(const fastopt_network *network, size_t batch, int threads);
int fastopt_train_f32(const fastopt_network *network, const fastopt_rule *rule, float *parameters, float *gradients,
                      void *const *states, const float *inputs, const int64_t *labels, const float *values,
                      const int64_t *rows, size_t count, size_t batch, const float *coefficients, void *workspace,
                      double *loss, int64_t *correct, int storage, const uint32_t *salts, int threads, int level);
int fastopt_train_f64(const fastopt_network *network, const fastopt_rule *rule, double *parameters, double *gradients,
                      void *const *states, const double *inputs, const int64_t *labels, const double *values,
                      const int64_t *rows, size_t count, size_t batch, const double *coefficients, void *workspace,
                      double *loss, int64_t *correct, int storage, const uint32_t *salts, int threads, int level);

/* Training steps by a rule of several passes, or by one whose gradient's norm is limited. A step overwrites `gradients`, then
 * runs the passes, its stages, over spans: slices of the buffers. In between, it computes the numbers that the passes take.
 * With `by_layer`, it does this after the gradient of each layer, for the spans that begin in it: where `numbers` computes
 * those of one span from nothing of another. Spans are in the order of their offsets then.
 *
 * A span has a frame of `frame_size` numbers, all frames lying one after the other. The last `given_size` of a frame are
 * copied from `given` at the start of a step, which has them for each step and group in turn; the others are sums of stages
 * and what `numbers` computes, which may keep some of them from step to step. `numbers` is called at each of `moments`: 0
 * before the first stage, k after the k-th, when its sums are in the frames. Functions by name: "limits" for any rule of one
 * pass without sums whose norm is limited, "lamb", "lamb_with_limits"; NULL where there is none.
 *
 * A stage names its states by their places in `states`, and numbers and sums by their places in a frame. With salts, the key
 * is the last two of its numbers. */
typedef void (*fastopt_numbers)(int moment, double *frames, size_t frame_size, size_t spans);
fastopt_numbers fastopt_find_numbers(const char *name);

typedef struct {
    const fastopt_rule *rule;
    const int *states, *numbers, *sums;
    const uint32_t *salts;
} fastopt_stage;

typedef struct {
    size_t offset, size, group;
} fastopt_span;

typedef struct {
    const fastopt_stage *stages;
    const fastopt_span *spans;
    size_t stage_count, span_count, group_count, moments;
    fastopt_numbers numbers; /* may be NULL */
    double *frames;
    const double *given;
    size_t frame_size, given_size;
    int storage, by_layer;
} fastopt_stages;

/* `workspace` holds fastopt_train_workspace and then fastopt_stages_workspace bytes. The rest is as for fastopt_train. */
size_t fastopt_stages_workspace_f32(const fastopt_stages *stages);
size_t fastopt_stages_workspace_f64(const fastopt_stages *stages);
int fastopt_train_stages_f32(const fastopt_network *network, const fastopt_stages *stages, float *parameters,
                             float *gradients, void *const *states, const float *inputs, const int64_t *labels,
                             const float *values, const int64_t *rows, size_t count, size_t batch, void *workspace,
                             double *loss, int64_t *correct, int threads, int level);
int fastopt_train_stages_f64(const fastopt_network *network, const fastopt_stages *stages, double *parameters,
                             double *gradients, void *const *states, const double *inputs, const int64_t *labels,
                             const double *values, const int64_t *rows, size_t count, size_t batch, void *workspace,
                             double *loss, int64_t *correct, int threads, int level);

#ifdef __cplusplus
}
#endif

#endif
