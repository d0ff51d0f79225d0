/* The few vector operations that the products need, by dtype and width. Every one is exact or rounded once, so that the
 * width changes no bit. */
#ifndef FASTOPT_VECTORS_H
#define FASTOPT_VECTORS_H

#include <math.h>
#include <string.h>

/* 16 bytes by the compiler's own vectors: what a processor without the wider ones runs. */
#define PORTABLE_VECTORS(suffix, REAL, FMA)                                                                            \
    typedef REAL portable_##suffix##_vector __attribute__((vector_size(16)));                                          \
    static inline portable_##suffix##_vector portable_##suffix##_load(const REAL *p)                                   \
    {                                                                                                                  \
        portable_##suffix##_vector v;                                                                                  \
        memcpy(&v, p, sizeof v);                                                                                       \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline void portable_##suffix##_store(REAL *p, portable_##suffix##_vector v) { memcpy(p, &v, sizeof v); }   \
    static inline portable_##suffix##_vector portable_##suffix##_fill(REAL x)                                          \
    {                                                                                                                  \
        portable_##suffix##_vector v;                                                                                  \
        for (size_t k = 0; k < sizeof v / sizeof x; ++k)                                                               \
            v[k] = x;                                                                                                  \
        return v;                                                                                                      \
    }                                                                                                                  \
    static inline portable_##suffix##_vector portable_##suffix##_fma(                                                  \
        portable_##suffix##_vector a, portable_##suffix##_vector b, portable_##suffix##_vector c)                      \
    {                                                                                                                  \
        for (size_t k = 0; k < sizeof c / sizeof(REAL); ++k)                                                           \
            c[k] = FMA(a[k], b[k], c[k]);                                                                              \
        return c;                                                                                                      \
    }

PORTABLE_VECTORS(f32, float, fmaf)
PORTABLE_VECTORS(f64, double, fma)

#if defined(__x86_64__)
#include <immintrin.h>

#define X86_VECTORS(level, suffix, REAL, VECTOR, PREFIX, KIND, TARGETS)                                                \
    typedef VECTOR level##_##suffix##_vector;                                                                          \
    __attribute__((target(TARGETS))) static inline VECTOR level##_##suffix##_load(const REAL *p)                       \
    {                                                                                                                  \
        return PREFIX##_loadu_##KIND(p);                                                                               \
    }                                                                                                                  \
    __attribute__((target(TARGETS))) static inline void level##_##suffix##_store(REAL *p, VECTOR v)                    \
    {                                                                                                                  \
        PREFIX##_storeu_##KIND(p, v);                                                                                  \
    }                                                                                                                  \
    __attribute__((target(TARGETS))) static inline VECTOR level##_##suffix##_fill(REAL x)                              \
    {                                                                                                                  \
        return PREFIX##_set1_##KIND(x);                                                                                \
    }                                                                                                                  \
    __attribute__((target(TARGETS))) static inline VECTOR level##_##suffix##_fma(VECTOR a, VECTOR b, VECTOR c)         \
    {                                                                                                                  \
        return PREFIX##_fmadd_##KIND(a, b, c);                                                                         \
    }

X86_VECTORS(avx2, f32, float, __m256, _mm256, ps, "avx2,fma")
X86_VECTORS(avx2, f64, double, __m256d, _mm256, pd, "avx2,fma")
X86_VECTORS(avx512, f32, float, __m512, _mm512, ps, "avx512f,avx512dq,avx512vl,avx2,fma")
X86_VECTORS(avx512, f64, double, __m512d, _mm512, pd, "avx512f,avx512dq,avx512vl,avx2,fma")
#endif

#endif
