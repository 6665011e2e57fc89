// The programs under test: where they are, and what they were built with.
#pragma once

#include <string>

/// The folder they are in: of those that were built, or of another build, to be compared with them,
/// which the environment names as STAGE_BINARIES.
std::string program_folder();

/// What they were built with: a program names the runtime that it needs.
enum class Sanitizer { none, address, thread };
Sanitizer sanitizer();

/// How much slower than a plain build they may be: more than 1 with a sanitizer.
int slowdown();
