#include "fault_log.h"

SpawnOptions FaultLog::options(const std::string& plan) const {
    return {.environment = {std::string{"LD_PRELOAD="} + FAULTS_LIBRARY, "STAGE_FAULTS=" + plan,
                            "STAGE_FAULTS_LOG=" + path().string()}};
}

std::vector<std::string> FaultLog::struck() const { return lines_of(read_file(path())); }
