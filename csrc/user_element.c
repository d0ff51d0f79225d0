/* The library of one user-defined activation or loss. Its includes are expanded when the package is built, but those of its
 * own functions and of its table entry: these are filled in, and the text is compiled, when it is first used. */
#include "element.h"
#include "user.h"

#define ELEMENTS_ONLY
#include "level.inc"

#define ACTIVATION(name, left, right, keeps_input)                                                                     \
    static const struct fastopt_activation USER = ACTIVATION_ENTRY(name, left, right, keeps_input);
#define LOSS(name, targets) static const struct fastopt_loss USER = LOSS_ENTRY(name, targets);

#include "generated/elements.inc"

const void *fastopt_user(void);
const void *fastopt_user(void) { return &USER; }
