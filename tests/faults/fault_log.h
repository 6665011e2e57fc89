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

/// A disk that stands still whenever a test wants it to: faults.cpp holds fdatasync(2) and fsync(2)
/// back.
class HeldDisk {
public:
    /// How to start a stage on this disk, whose calls fail as `plan` says.
    SpawnOptions options(const std::string& plan = "") const;

    void hold() const;
    /// Waits until the stage waits for the disk; false if it does not.
    bool await_use() const;
    void release() const;
    /// How many calls have failed as planned, or have been noted.
    std::size_t noted() const { return log_.struck().size(); }

private:
    std::filesystem::path mark() const { return folder_.path() / "held"; }

    TemporaryFolder folder_;
    FaultLog log_;
};
