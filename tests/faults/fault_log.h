// Calls of a stage that fail as a test plans it: by faults.cpp, which is put in front of the C
// library.
#pragma once

#include "harness/child_process.h"
#include "harness/support.h"
#include "harness/time_limits.h"

#include <string>
#include <vector>

/// A call that has failed as planned.
struct Struck {
    std::string name;
    Clock::time_point when;
};

/// What faults.cpp writes: a line for each call that it lets fail.
class FaultLog {
public:
    /// How to start a stage whose calls fail as `plan` says, in the form that faults.cpp takes.
    SpawnOptions options(const std::string& plan) const;

    /// The calls that have failed as planned, in their order.
    std::vector<Struck> struck() const;

private:
    std::filesystem::path path() const { return folder_.path() / "log"; }

    TemporaryFolder folder_;
};
