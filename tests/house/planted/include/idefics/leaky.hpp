// A planted fault: IDEFICS_ and undefined names may stay, LEAKED and STB_LIKE may not.
#pragma once
#define IDEFICS_KEPT 1
#define CLEANED_UP
#undef CLEANED_UP
#define LEAKED(x) x
