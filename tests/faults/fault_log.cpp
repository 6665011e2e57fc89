#include "fault_log.h"

#include "harness/time_limits.h"

#include <sstream>

SpawnOptions FaultLog::options(const std::string& plan) const {
    return {.environment = {std::string{"LD_PRELOAD="} + FAULTS_LIBRARY, "STAGE_FAULTS=" + plan,
                            "STAGE_FAULTS_LOG=" + path().string()}};
}

std::vector<Struck> FaultLog::struck() const {
    std::vector<Struck> all;
    std::istringstream log{read_file(path())};
    std::string name;
    for (std::chrono::nanoseconds::rep ns = 0; log >> name >> ns;)
        all.push_back({name, Clock::time_point{std::chrono::nanoseconds{ns}}});
    return all;
}
