/* The public functions: which rule, which vector width, which threads. The loops themselves are in pass.inc. */
#include "fastopt.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "element.h"
#include "flush.h"
#include "rule.h"
#include "team.h"
#include "vectors.h"

#ifdef _OPENMP
#include <omp.h>
#endif

enum { PARALLEL_FROM = 32768 };

/* Rows of a block of a product, vectors of columns when there are one or two rows, and the widest panel in elements. */
enum { BLOCK_ROWS = 8, WIDE_VECTORS = 8, WIDEST_PANEL = 32 };

/* Multiply-adds from which a phase of a training step is worth sharing between threads: fewer are done before the second one
 * has begun. An update counts as UPDATE_PRODUCTS of them, an output's loss as LOSS_PRODUCTS. */
enum { SHARED_PRODUCT = 65536, SHARED_SUMS = 2048, SHARED_BACKWARD = 524288, UPDATE_PRODUCTS = 32, LOSS_PRODUCTS = 512 };

/* A panel is copied when more rows than COPY_ROWS are computed from it; CACHED_ROWS of a layer's inputs stay in the cache. */
enum { COPY_ROWS = 32, CACHED_ROWS = 256 };

/* Products go by blocks of this depth: a panel of it stays in the first-level cache. With few rows there is nothing to
 * stay, and a shallow block lets the processor read ahead within rows. */
enum { DEPTH = 256, SHALLOW_DEPTH = 64 };

/* A tile of weight rows has at most about so many elements, for batches of up to FEW_ROWS, of up to SOME_ROWS, and larger
 * ones: a small batch's tile stays near the processor; a large one's makes up for reading all deltas for each tile. */
enum { SMALL_TILE = 8192, MEDIUM_TILE = 32768, LARGE_TILE = 131072, SOME_ROWS = 64 };

/* Inputs that are copied at a time, so that a block of them lies together. */
enum { COLUMNS_TOGETHER = 128 };

/* Rows of weights lie on pages of their own, where no processor prefetches by itself. */
enum { AHEAD = 16 };

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static int allowed_threads(int threads)
{
    return threads < 1 ? 1 : threads > FASTOPT_MOST_THREADS ? FASTOPT_MOST_THREADS : threads;
}

static size_t divided(size_t n, size_t by) { return (n + by - 1) / by; }

/* Rows of a tile: few enough to stay in the cache, whole blocks, and the same for each thread. */
static size_t tile_rows(const fastopt_layer *layer, size_t batch, size_t threads)
{
    const size_t elements = batch <= FEW_ROWS ? SMALL_TILE : batch <= SOME_ROWS ? MEDIUM_TILE : LARGE_TILE;
    const size_t most = larger(elements / layer->outputs, BLOCK_ROWS);
    const size_t tiles = threads * divided(layer->inputs, threads * most);

    return divided(divided(layer->inputs, tiles), BLOCK_ROWS) * BLOCK_ROWS;
}

/* Inputs of a part: whole blocks, so that none is empty. */
static size_t part_rows(const fastopt_layer *layer)
{
    return divided(divided(layer->inputs, BLOCK_ROWS), PARTS) * BLOCK_ROWS;
}

/* Rows of the largest batch for which a layer is summed in parts. */
static size_t most_part_batch(const fastopt_layer *layer)
{
    const size_t size = layer->inputs * layer->outputs;

    return size < PARTS_FROM ? 0 : size > PARTS_TO ? FEW_ROWS : MOST_ROWS;
}

static size_t sum_parts(const fastopt_layer *layer, size_t batch)
{
    return batch > most_part_batch(layer) ? 1 : divided(layer->inputs, part_rows(layer));
}

/* Whether the deltas of a training by such batches hold the parts of its smaller last one, before there are deltas. */
static int has_room_for_parts(const fastopt_layer *layer, size_t batch)
{
    return batch >= PARTS * most_part_batch(layer);
}

#ifdef _OPENMP
static int thread_number(void) { return omp_get_thread_num(); }
static int thread_count(void) { return omp_get_num_threads(); }
#else
static int thread_number(void) { return 0; }
static int thread_count(void) { return 1; }
#endif

#include "kernel.h"

#define REAL float
#define SUFFIX(name) name##_f32
#include "structs.inc"
#include "workspace.inc"
#include "moments.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "structs.inc"
#include "workspace.inc"
#include "moments.inc"
#undef REAL
#undef SUFFIX

#include "numbers.inc"

static int is_network(const fastopt_network *network)
{
    if (!network || network->count < 1 || !network->loss)
        return 0;
    for (int l = 0; l < network->count; ++l) {
        const fastopt_layer *layer = &network->layers[l];
        if (!layer->inputs || !layer->outputs || !layer->activation || (l && layer->inputs != layer[-1].outputs))
            return 0;
    }
    return 1;
}

static int takes_targets(const fastopt_loss *loss, int labels, int values)
{
    return labels != values && (loss->targets == OF_LABELS ? labels : loss->targets == OF_PROBABILITIES ? values : 1);
}

#define LEVEL portable
#define LEVEL_NUMBER 0
#define TARGET TARGET_portable
#include "level.inc"

#ifdef WIDE_X86
#define LEVEL avx2
#define LEVEL_NUMBER 1
#define TARGET TARGET_avx2
#include "level.inc"

#define LEVEL avx512
#define LEVEL_NUMBER 2
#define TARGET TARGET_avx512
#include "level.inc"
#endif

#define LEVEL_ENTRY(level) {#level, level##_f32_train, level##_f64_train, level##_f32_matmul, level##_f64_matmul}

static const struct level {
    const char *name;
    void (*train_f32)(struct job_f32 *);
    void (*train_f64)(struct job_f64 *);
    int (*matmul_f32)(size_t, size_t, size_t, size_t, const float *, const float *, int, float *);
    int (*matmul_f64)(size_t, size_t, size_t, size_t, const double *, const double *, int, double *);
} LEVELS[] = {
    LEVEL_ENTRY(portable),
#ifdef WIDE_X86
    LEVEL_ENTRY(avx2),
    LEVEL_ENTRY(avx512),
#endif
};

#ifdef WIDE_X86
#define EACH_LEVEL(name, dtype) {portable_##dtype##_##name, avx2_##dtype##_##name, avx512_##dtype##_##name}
#else
#define EACH_LEVEL(name, dtype) {portable_##dtype##_##name}
#endif

static const struct fastopt_rule RULES[] = {
#include "generated/rules.inc"
};

#define ACTIVATION(name, left, right, keeps_input) ACTIVATION_ENTRY(name, left, right, keeps_input),
#define LOSS(name, targets)

static const struct fastopt_activation ACTIVATIONS[] = {
#include "generated/elements.inc"
};

#undef ACTIVATION
#undef LOSS
#define ACTIVATION(name, left, right, keeps_input)
#define LOSS(name, targets) LOSS_ENTRY(name, targets),

static const struct fastopt_loss LOSSES[] = {
#include "generated/elements.inc"
};

int fastopt_rule_count(void) { return sizeof RULES / sizeof *RULES; }

const fastopt_rule *fastopt_rule_at(int index)
{
    return index >= 0 && index < fastopt_rule_count() ? &RULES[index] : NULL;
}

const fastopt_rule *fastopt_find_rule(const char *name)
{
    for (int i = 0; i < fastopt_rule_count(); ++i)
        if (strcmp(RULES[i].name, name) == 0)
            return &RULES[i];
    return NULL;
}

const fastopt_activation *fastopt_find_activation(const char *name)
{
    for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; ++i)
        if (strcmp(ACTIVATIONS[i].name, name) == 0)
            return &ACTIVATIONS[i];
    return NULL;
}

const fastopt_loss *fastopt_find_loss(const char *name)
{
    for (size_t i = 0; i < sizeof LOSSES / sizeof *LOSSES; ++i)
        if (strcmp(LOSSES[i].name, name) == 0)
            return &LOSSES[i];
    return NULL;
}

const char *fastopt_rule_name(const fastopt_rule *rule) { return rule->name; }

int fastopt_rule_states(const fastopt_rule *rule) { return rule->states; }

int fastopt_rule_numbers(const fastopt_rule *rule) { return rule->numbers; }

int fastopt_rule_sums(const fastopt_rule *rule) { return rule->sums; }

size_t fastopt_sums_size(const fastopt_rule *rule, size_t n) { return (1 + divided(n, CHUNK)) * (size_t)rule->sums; }

int fastopt_level_count(void)
{
#ifdef WIDE_X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 3;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 2;
#endif
    return 1;
}

const char *fastopt_level_name(int level)
{
    return level >= 0 && level < fastopt_level_count() ? LEVELS[level].name : NULL;
}

int fastopt_has_threads(void)
{
#ifdef _OPENMP
    return 1;
#else
    return 0;
#endif
}

#include "run.inc"

#define REAL float
#define SUFFIX(name) name##_f32
#include "threads.inc"
#include "train_stages.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "threads.inc"
#include "train_stages.inc"
