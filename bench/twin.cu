/* A pass over flat buffers in CUDA C, which fastopt's kernels are measured against.
 *
 * Python appends the C source of a rule, that of the CPU's library. A thread takes a vector of 16 bytes of each buffer, in
 * one load and one store; the elements of a last, shorter one are taken one by one. Buffers begin at multiples of 16
 * bytes. REAL, FMA, SQRT, ABS, WIDTH, BLOCK and BLOCKS are defined on the compiler's command line.
 */

typedef unsigned long long length;

enum { GRAD_SCALE, CLIP_VALUE, WEIGHT_DECAY, DECAY_FACTOR, PASS_COEFFICIENTS };

#define CLIP(x, low, high) ((x) > (high) ? (high) : (x) < (low) ? (low) : (x))

struct __align__(16) vector {
    REAL x[WIDTH];
};

#define INLINE static __device__ __forceinline__

template <class Rule> INLINE void element(REAL &p, REAL g, REAL *states, const REAL *c)
{
    const REAL gradient = FMA(c[WEIGHT_DECAY], p, CLIP(g * c[GRAD_SCALE], -c[CLIP_VALUE], c[CLIP_VALUE]));
    REAL parameter = p * c[DECAY_FACTOR];
    Rule::update(&parameter, gradient, states, c + PASS_COEFFICIENTS);
    p = parameter;
}

template <class Rule>
INLINE void pass(length size, REAL *p, REAL *g, REAL *const *buffers, const REAL *coefficients, int zero_grad)
{
    constexpr int states = Rule::STATES, count = PASS_COEFFICIENTS + Rule::COUNT, room = states ? states : 1;
    const length thread = (length)blockIdx.x * blockDim.x + threadIdx.x, vectors = size / WIDTH;
    REAL c[count], own[room];
#pragma unroll
    for (int k = 0; k < count; ++k)
        c[k] = coefficients[k];
    if (thread < vectors) {
        vector p_vector = ((const vector *)p)[thread], g_vector = ((const vector *)g)[thread], state_vectors[room];
#pragma unroll
        for (int s = 0; s < states; ++s)
            state_vectors[s] = ((const vector *)buffers[s])[thread];
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
#pragma unroll
            for (int s = 0; s < states; ++s)
                own[s] = state_vectors[s].x[k];
            element<Rule>(p_vector.x[k], g_vector.x[k], own, c);
#pragma unroll
            for (int s = 0; s < states; ++s)
                state_vectors[s].x[k] = own[s];
        }
        ((vector *)p)[thread] = p_vector;
#pragma unroll
        for (int s = 0; s < states; ++s)
            ((vector *)buffers[s])[thread] = state_vectors[s];
        if (zero_grad)
            ((vector *)g)[thread] = vector{};
    } else if (vectors * WIDTH + (thread - vectors) < size) {
        const length i = vectors * WIDTH + (thread - vectors);
#pragma unroll
        for (int s = 0; s < states; ++s)
            own[s] = buffers[s][i];
        element<Rule>(p[i], g[i], own, c);
#pragma unroll
        for (int s = 0; s < states; ++s)
            buffers[s][i] = own[s];
        if (zero_grad)
            g[i] = 0;
    }
}

/* The kernel of a rule whose update is declared before and follows. */
#define KERNEL(name, states, count, ...)                                                                               \
    struct name##_update {                                                                                             \
        enum { STATES = states, COUNT = count };                                                                       \
        INLINE void update(REAL *p, REAL g, REAL *s, const REAL *c) { name##_rule(__VA_ARGS__); }                      \
    };                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)                                                        \
        name(length size, REAL *p, REAL *g, REAL *s0, REAL *s1, REAL *s2, const REAL *coefficients, int zero_grad)     \
    {                                                                                                                  \
        REAL *const buffers[] = {s0, s1, s2};                                                                          \
        pass<name##_update>(size, p, g, buffers, coefficients, zero_grad);                                             \
    }

#define RULE_0(name, count)                                                                                            \
    INLINE void name##_rule(REAL *p, REAL g, const REAL *c);                                                           \
    KERNEL(name, 0, count, p, g, c)                                                                                    \
    INLINE void name##_rule(REAL *p, REAL g, const REAL *c)

#define RULE_1(name, count, a)                                                                                         \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, const REAL *c);                                                  \
    KERNEL(name, 1, count, p, g, s, c)                                                                                 \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, const REAL *c)

#define RULE_2(name, count, a, b)                                                                                      \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, REAL *b, const REAL *c);                                         \
    KERNEL(name, 2, count, p, g, s, s + 1, c)                                                                          \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, REAL *b, const REAL *c)

#define RULE_3(name, count, a, b, d)                                                                                   \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, REAL *b, REAL *d, const REAL *c);                                \
    KERNEL(name, 3, count, p, g, s, s + 1, s + 2, c)                                                                   \
    INLINE void name##_rule(REAL *p, REAL g, REAL *a, REAL *b, REAL *d, const REAL *c)
