/* How threads share the phases of many steps, as fastopt/backends/numba/team.py has it.
 *
 * The items of a phase are dealt out in equal runs, one a thread; who has finished its own waits a moment for the others,
 * then takes what they have not begun. A phase begins when all items of the one before are done. Nothing waits for a thread
 * that has not begun an item, as at a barrier: it may have no processor for milliseconds. */
#ifndef FASTOPT_TEAM_H
#define FASTOPT_TEAM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>
static void yield_processor(void) { sched_yield(); }
#else
static void yield_processor(void) {}
#endif

#if defined(__x86_64__)
static void pause_processor(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static void pause_processor(void) { __asm__ volatile("yield"); }
#else
static void pause_processor(void) {}
#endif

/* Two cache lines each, since those are fetched in pairs. One a thread: its phase, and how many items of it are begun; and
 * one for how many items of all phases are done. */
struct slot {
    int64_t value;
    int64_t apart[15];
};

/* One thread's place among the others. */
struct team {
    struct slot *slots;
    int thread, threads;
    int64_t phase, items, target;
};

/* Pauses before a thread takes another's items, since the other has the data in its cache; and before it yields. */
enum { PATIENCE = 50, YIELD_EVERY = 2000 };

static void begin_phase(struct team *team, size_t items)
{
    team->phase += 1;
    team->items = (int64_t)items;
    team->target += (int64_t)items;
}

/* An item of a thread's run that nobody has begun, or -1. The high half of a slot is its phase. */
static int64_t claim(const struct team *team, int thread)
{
    const int64_t first = (thread * team->items + team->threads - 1) / team->threads;
    const int64_t last = ((thread + 1) * team->items + team->threads - 1) / team->threads;
    int64_t *slot = &team->slots[thread].value, seen = __atomic_load_n(slot, __ATOMIC_ACQUIRE);

    for (;;) {
        const int64_t phase = seen >> 32, begun = phase == team->phase ? seen & 0xffffffff : 0;
        if (phase > team->phase || first + begun >= last)
            return -1;
        if (__atomic_compare_exchange_n(slot, &seen, (team->phase << 32) | (begun + 1), 1, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return first + begun;
    }
}

static int is_done(const struct team *team)
{
    return __atomic_load_n(&team->slots[team->threads].value, __ATOMIC_ACQUIRE) >= team->target;
}

/* The next item for this thread; -1 when all of this phase are done. */
static int64_t next_item(struct team *team)
{
    int64_t item = claim(team, team->thread);

    for (int waited = 1; item < 0 && !is_done(team); ++waited) {
        pause_processor();
        if (waited % YIELD_EVERY == 0)
            yield_processor();
        for (int k = 1; waited % PATIENCE == 0 && k < team->threads && item < 0; ++k)
            item = claim(team, (team->thread + k) % team->threads);
    }
    return item;
}

static void finish_item(struct team *team)
{
    __atomic_fetch_add(&team->slots[team->threads].value, 1, __ATOMIC_ACQ_REL);
}

#endif
