#include "programs.h"

#include "subject.h"
#include "support.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace {

Sanitizer find_sanitizer() {
    if (subject() != nullptr) return Sanitizer::none;
    std::error_code no_folder; // then each test says that its program is not there
    for (const auto& entry : std::filesystem::directory_iterator{program_folder(), no_folder}) {
        const std::string name = entry.path().filename();
        if (!name.starts_with('0')) continue; // no stage
        const auto program = read_file(entry.path());
        if (program.find("__asan_init") != std::string::npos) return Sanitizer::address;
        if (program.find("__tsan_init") != std::string::npos) return Sanitizer::thread;
    }
    return Sanitizer::none;
}

} // namespace

std::string program_folder() {
    const char* folder = std::getenv("STAGE_BINARIES");
    return folder == nullptr ? STAGE_BIN_DIR : folder;
}

Sanitizer sanitizer() {
    static const Sanitizer found = find_sanitizer();
    return found;
}

int slowdown() {
    if (const Subject* server = subject()) return server->patience();
    return sanitizer() == Sanitizer::none ? 1 : 5;
}
