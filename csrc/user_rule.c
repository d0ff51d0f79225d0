/* The library of one user-defined sweep. Its includes are expanded when the package is built, but those of the sweep's own
 * functions, passes and table entry: these are filled in, and the text is compiled, when the rule is first used. */
#include "rule.h"
#include "user.h"

#define PASSES_ONLY
#include "level.inc"

static const struct fastopt_rule RULES[] = {
#include "generated/rules.inc"
};

const void *fastopt_user(void);
const void *fastopt_user(void) { return RULES; }
