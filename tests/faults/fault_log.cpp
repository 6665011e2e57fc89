#include "fault_log.h"

#include "harness/time_limits.h"

#include <fstream>
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

SpawnOptions HeldDisk::options(const std::string& plan) const {
    auto options = log_.options(plan);
    options.environment.push_back("STAGE_HELD_DISK=" + mark().string());
    return options;
}

void HeldDisk::hold() const { std::ofstream{mark()}; }

bool HeldDisk::await_use() const {
    return eventually([this] { return std::filesystem::exists(mark().string() + ".awaited"); });
}

void HeldDisk::release() const {
    std::filesystem::remove(mark());
    std::filesystem::remove(mark().string() + ".awaited");
}
