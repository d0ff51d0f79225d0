/* Denormals as zeros, on this thread, for the length of a pass: without it a step over decayed moments is 50 times slower. */
#ifndef FASTOPT_FLUSH_H
#define FASTOPT_FLUSH_H

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
typedef unsigned int flush_mode;
static flush_mode begin_flush_to_zero(void)
{
    const flush_mode saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8040u);
    return saved;
}
static void end_flush_to_zero(flush_mode saved) { _mm_setcsr(saved); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef unsigned long flush_mode;
static flush_mode begin_flush_to_zero(void)
{
    flush_mode saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved | (1ul << 24)));
    return saved;
}
static void end_flush_to_zero(flush_mode saved) { __asm__ volatile("msr fpcr, %0" : : "r"(saved)); }
#else
typedef int flush_mode;
static flush_mode begin_flush_to_zero(void) { return 0; }
static void end_flush_to_zero(flush_mode saved) { (void)saved; }
#endif

#endif
