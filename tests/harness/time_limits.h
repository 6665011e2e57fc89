// Time in the tests: limits that a slower build stretches, and waiting for a condition.
#pragma once

#include "programs.h"

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// A limit that holds for a plain build, stretched where sanitizers slow the stage down.
inline Clock::duration scaled(Clock::duration limit) { return limit * slowdown(); }

/// TEST_PATIENCE, in seconds, for somebody who waits for a failure.
inline Clock::duration patience_wanted() {
    const char* wanted = std::getenv("TEST_PATIENCE");
    return wanted == nullptr ? 10s : std::chrono::seconds{std::stoi(wanted)};
}

/// How long a test waits for what must happen sooner or later. Never a promise in itself: generous,
/// so that a busy machine fails no test.
inline const Clock::duration patience = scaled(patience_wanted());

/// A time in the form that `--timeout` takes, stretched like other limits: "0.15".
inline std::string seconds_for_option(std::chrono::milliseconds time) {
    return std::to_string(std::chrono::duration<double>(time * slowdown()).count());
}

/// Looks every millisecond whether `done()` holds; false if it still does not after `limit`.
template <typename Condition> bool eventually(Condition done, Clock::duration limit = patience) {
    const auto deadline = Clock::now() + limit;
    while (!done()) {
        if (Clock::now() >= deadline) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// Milliseconds until `deadline`, at least 0, in the form poll(2) takes.
inline int milliseconds_left(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    return left.count() > 0 ? static_cast<int>(left.count()) : 0;
}
