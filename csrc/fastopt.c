/* The public functions: which rule, which vector width, which threads. The loops themselves are in pass.inc. */
#include "fastopt.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "flush.h"
#include "team.h"
#include "vectors.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* The first coefficients of every pass; the rule's own follow. */
enum { GRAD_SCALE, CLIP_VALUE, WEIGHT_DECAY, DECAY_FACTOR, PASS_COEFFICIENTS };

/* As many states as the RULE_ macros of pass.inc go to. */
enum { MOST_STATES = 3 };

enum { BLOCK = 2048, LANES = 64, CHUNK = 16384, PARALLEL_FROM = 32768 };

/* A pass fetches what it needs so many bytes later, a group of elements at a time: each page of each stream is new to the
 * processor's own prefetching, and the square roots leave it no room to wait. */
enum { PASS_AHEAD = 2048, GROUP = 64, LINE = 64 };

/* Rows of a block of a product, vectors of columns when there are one or two rows, and the widest panel in elements. */
enum { BLOCK_ROWS = 8, WIDE_VECTORS = 8, WIDEST_PANEL = 32 };

/* Multiply-adds from which a phase of a training step is worth sharing between threads: fewer are done before the second one
 * has begun. An update counts as UPDATE_PRODUCTS of them, an output's loss as LOSS_PRODUCTS. */
enum { SHARED_PRODUCT = 65536, SHARED_SUMS = 2048, SHARED_BACKWARD = 524288, UPDATE_PRODUCTS = 32, LOSS_PRODUCTS = 512 };

/* Parts of a layer's inputs that are summed apart, and then added in order. A thread then reads the rows of the weights that
 * it has updated: one that another has changed takes longer to fetch than to multiply by a small batch. Layers of less than
 * PARTS_FROM weights are one thread's; those of more than PARTS_TO do not stay in the processors' own caches, and are summed
 * in parts for batches of FEW_ROWS only. It is a matter of shapes, so that threads change no bit. */
enum { PARTS = 4, PARTS_FROM = 16384, PARTS_TO = 262144, FEW_ROWS = 16, MOST_ROWS = 256 };

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
#define PREFETCH(address) __builtin_prefetch(address)

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

#define REAL float
#define SUFFIX(name) name##_f32
#include "structs.inc"
#include "workspace.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "structs.inc"
#include "workspace.inc"
#undef REAL
#undef SUFFIX

static int is_network(const fastopt_network *network)
{
    if (!network || network->count < 1 || network->loss < FASTOPT_SOFTMAX_CROSS_ENTROPY ||
        network->loss > FASTOPT_MEAN_SQUARED_ERROR)
        return 0;
    for (int l = 0; l < network->count; ++l) {
        const fastopt_layer *layer = &network->layers[l];
        if (!layer->inputs || !layer->outputs || layer->activation < FASTOPT_IDENTITY ||
            layer->activation > FASTOPT_TANH || (l && layer->inputs != layer[-1].outputs))
            return 0;
    }
    return 1;
}

#define LEVEL portable
#define TARGET
#include "level.inc"

/* Chosen by function pointers when the program runs, since one binary serves every processor of the architecture. Without an
 * instruction for it, fmaf is a call: exact, and slow. */
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDE_X86 1

#define LEVEL avx2
#define TARGET __attribute__((target("avx2,fma")))
#include "level.inc"

#define LEVEL avx512
#ifdef __clang__
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#else
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")))
#endif
#include "level.inc"
#endif

#define LEVEL_ENTRY(level)                                                                                             \
    {#level,                                                                                                           \
     level##_f32_kernels,                                                                                              \
     level##_f64_kernels,                                                                                              \
     level##_f32_sum_of_squares,                                                                                       \
     level##_f64_sum_of_squares,                                                                                       \
     level##_f32_train,                                                                                                \
     level##_f64_train}

static const struct level {
    const char *name;
    const struct kernel_f32 *kernels_f32;
    const struct kernel_f64 *kernels_f64;
    double (*sum_of_squares_f32)(size_t, const float *restrict);
    double (*sum_of_squares_f64)(size_t, const double *restrict);
    void (*train_f32)(struct job_f32 *);
    void (*train_f64)(struct job_f64 *);
} LEVELS[] = {
    LEVEL_ENTRY(portable),
#ifdef WIDE_X86
    LEVEL_ENTRY(avx2),
    LEVEL_ENTRY(avx512),
#endif
};

enum { RULES = sizeof portable_f32_kernels / sizeof *portable_f32_kernels };

/* A handle is an entry of the narrowest table: all tables list the same rules in the same order. */
static int index_of(const fastopt_rule *rule)
{
    const struct kernel_f32 *entry = (const struct kernel_f32 *)rule;
    return entry ? (int)(entry - portable_f32_kernels) : -1;
}

int fastopt_rule_count(void) { return RULES; }

const fastopt_rule *fastopt_rule_at(int index)
{
    return index >= 0 && index < RULES ? (const fastopt_rule *)&portable_f32_kernels[index] : NULL;
}

const fastopt_rule *fastopt_find_rule(const char *name)
{
    for (int i = 0; i < RULES; ++i)
        if (strcmp(portable_f32_kernels[i].name, name) == 0)
            return fastopt_rule_at(i);
    return NULL;
}

const char *fastopt_rule_name(const fastopt_rule *rule) { return portable_f32_kernels[index_of(rule)].name; }

int fastopt_rule_states(const fastopt_rule *rule) { return portable_f32_kernels[index_of(rule)].states; }

int fastopt_rule_coefficients(const fastopt_rule *rule)
{
    return PASS_COEFFICIENTS + portable_f32_kernels[index_of(rule)].coefficients;
}

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

size_t fastopt_workspace_size(size_t n) { return (n + CHUNK - 1) / CHUNK; }

#define REAL float
#define SUFFIX(name) name##_f32
#include "threads.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX(name) name##_f64
#include "threads.inc"
