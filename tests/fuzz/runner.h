// Runs a script against several servers at the same time, and holds each to what the model says.
#pragma once

#include "harness/stage_process.h"
#include "harness/time_limits.h"
#include "script.h"

#include <array>
#include <atomic>
#include <memory>
#include <stdexcept>

/// Servers that were started with the same options, one of each stage.
struct Fleet {
    std::vector<std::unique_ptr<StageProcess>> servers;
    std::vector<std::string> names; ///< of the stages, in the same order
    Answers answers;
    Clock::duration deadline; ///< their --timeout
};

/// What has happened so far, in all scripts of all threads.
struct Tally {
    std::atomic<std::uint64_t> scripts{0};
    std::atomic<std::uint64_t> connections{0};
    std::atomic<std::uint64_t> received{0}; ///< bytes
    std::atomic<std::uint64_t> unsure{0};   ///< connections that were only owed a prefix
    std::array<std::atomic<std::uint64_t>, 5> outcomes{}; ///< by Outcome
    std::atomic<bool> failed{false};                      ///< so that the others leave off, too
};

/// A server did not do what the model says: what() has the stage, the client and the difference.
struct Mismatch : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Lets every client of the script do its steps at each server of the fleet, unless another script
/// fails meanwhile. Throws Mismatch, or std::system_error if this machine has no socket left to
/// give.
void run_script(const Script& script, const Fleet& fleet, Tally& tally);
