/* The library of one user-defined sweep, for the vector width USER_TARGET. Its includes are expanded when the package is
 * built, but those of the sweep's own passes and of its table entry: these are filled in, and the text is compiled, when the
 * rule is first used. */
#include "rule.h"

#define PASSES_ONLY
#define LEVEL user
#define TARGET USER_TARGET
#include "level.inc"

/* Every width is this one: bits do not depend on it. */
#define EACH_LEVEL(name, dtype) {user_##dtype##_##name, user_##dtype##_##name, user_##dtype##_##name}

static const struct fastopt_rule RULES[] = {
#include "generated/rules.inc"
};

const fastopt_rule *fastopt_user_rule(void);
const fastopt_rule *fastopt_user_rule(void) { return RULES; }
