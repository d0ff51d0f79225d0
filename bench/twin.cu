/* A pass over flat buffers in CUDA C, which fastopt's kernels are measured against.
 *
 * Python appends a rule, translated from its function as for the CPU's library. A thread takes a vector of 16 bytes of each buffer, in
 * one load and one store; the elements of a last, shorter one are taken one by one. Buffers begin at multiples of 16
 * bytes. REAL, FMA, SQRT, ABS, WIDTH, BLOCK and BLOCKS are defined on the compiler's command line.
 */

typedef unsigned long long length;

enum { GRAD_SCALE, CLIP_VALUE, WEIGHT_DECAY, DECAY_FACTOR };

#define NAMED(name) name
#define CLIP(x, low, high) ((x) > (high) ? (high) : (x) < (low) ? (low) : (x))
#define SIGN(x) ((x) > 0 ? (REAL)1 : (x) < 0 ? (REAL)-1 : (x))

struct __align__(16) vector {
    REAL x[WIDTH];
};

#define INLINE static __device__ __forceinline__

template <class Rule>
INLINE void pass(length size, REAL *p, REAL *g, REAL *const *buffers, const REAL *coefficients, int zero_grad)
{
    constexpr int states = Rule::STATES, count = Rule::COUNT, room = states ? states : 1;
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
            Rule::update(&p_vector.x[k], g_vector.x[k], own, c);
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
        Rule::update(&p[i], g[i], own, c);
#pragma unroll
        for (int s = 0; s < states; ++s)
            buffers[s][i] = own[s];
        if (zero_grad)
            g[i] = 0;
    }
}

/* The kernel of a rule whose update is defined before. */
#define KERNEL(name)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)                                                        \
        name(length size, REAL *p, REAL *g, REAL *s0, REAL *s1, REAL *s2, const REAL *coefficients, int zero_grad)     \
    {                                                                                                                  \
        REAL *const buffers[] = {s0, s1, s2};                                                                          \
        pass<name##_update>(size, p, g, buffers, coefficients, zero_grad);                                             \
    }
