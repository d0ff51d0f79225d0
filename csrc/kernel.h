/* A rule's pass, chosen for a storage and a vector width, and slices of the buffers that it works on. */
#ifndef FASTOPT_KERNEL_H
#define FASTOPT_KERNEL_H

#include "rule.h"

struct kernel {
    pass_function update;
    int states, numbers, sums; /* with the key among the numbers where stores are rounded at random */
    size_t item, state_item;   /* of ITEM_SIZES */
    const uint32_t *salts;
};

/* Bytes of an element of p and g, and of a state, for each storage. */
static const size_t ITEM_SIZES[STORAGES][2] = {
    [FASTOPT_FLOAT32] = {sizeof(float), sizeof(float)},
    [FASTOPT_FLOAT64] = {sizeof(double), sizeof(double)},
    [FASTOPT_BFLOAT16_STATES] = {sizeof(float), sizeof(uint16_t)},
    [FASTOPT_BFLOAT16_PARAMETERS] = {sizeof(uint16_t), sizeof(float)},
    [FASTOPT_BFLOAT16] = {sizeof(uint16_t), sizeof(uint16_t)},
};

/* A buffer from an element on; none where there is none. */
static inline void *from_element(void *buffer, size_t element, size_t item)
{
    return buffer ? (char *)buffer + element * item : buffer;
}

/* Update n elements from `at` on; `position` is that of the buffers' first element. */
static inline void update_slice(const struct kernel *kernel, size_t at, size_t n, void *p, void *g, void *const *states,
                                const void *numbers, size_t position, int zero_grad, double *sums)
{
    void *own[MOST_STATES];

    for (int s = 0; s < kernel->states; ++s)
        own[s] = from_element(states[s], at, kernel->state_item);
    kernel->update(n, from_element(p, at, kernel->item), g, own, numbers, kernel->salts, position + at, zero_grad, sums);
}

#endif
