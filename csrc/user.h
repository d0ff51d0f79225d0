/* What the library of one user-defined thing is compiled for: the vector width USER_TARGET, in the place of every width, since
 * bits do not depend on it. */
#define LEVEL user
#define LEVEL_NUMBER 0
#define TARGET USER_TARGET
#define EACH_LEVEL(name, dtype) {user_##dtype##_##name, user_##dtype##_##name, user_##dtype##_##name}
