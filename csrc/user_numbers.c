/* The library of the numbers of one user-defined rule. Its includes are expanded when the package is built, but that of the
 * numbers' own functions: these are filled in, and the text is compiled, when the rule is first trained with. */
#include "fastopt.h"

#include <math.h>

#include "number_words.inc"

#include "generated/numbers.inc"

const void *fastopt_user(void);
const void *fastopt_user(void) { return &NUMBERS[0].compute; }
