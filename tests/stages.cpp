#include "stages.h"

#include "support.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <ostream>

namespace {

Stage concurrent_stage(int number, const std::string& name) {
    return {.number = number,
            .name = name,
            .second_client_later = "200",
            .second_client_meanwhile = "200",
            .after_a_client_left = "next: 200",
            .beside_unread_response = "200",
            .beside_fast_reader = "200",
            .clients_held_open = "all at once",
            .threads_with_50_clients = 1};
}

std::vector<Stage> make_table() {
    const Stage single{.number = 1,
                       .name = "01_blocking_single",
                       .second_client_later = "refused",
                       .second_client_meanwhile = "waits, reset",
                       .after_a_client_left = "exit 1",
                       .beside_unread_response = "waits, reset",
                       .beside_fast_reader = "",
                       .clients_held_open = "",
                       .threads_with_50_clients = 1};
    const Stage loop{.number = 2,
                     .name = "02_blocking_loop",
                     .second_client_later = "200",
                     .second_client_meanwhile = "waits, 200",
                     .after_a_client_left = "next: 200",
                     .beside_unread_response = "waits, 200",
                     .beside_fast_reader = "waits, 200",
                     .clients_held_open = "1 at a time",
                     .threads_with_50_clients = 1};
    Stage threaded = concurrent_stage(3, "03_threaded");
    threaded.threads_with_50_clients = 51;
    Stage select = concurrent_stage(4, "04_select");
    select.clients_held_open = "503 from descriptor 1024";
    return {single,
            loop,
            threaded,
            select,
            concurrent_stage(5, "05_poll"),
            concurrent_stage(6, "06_epoll_level"),
            concurrent_stage(7, "07_epoll_edge")};
}

Sanitizer find_sanitizer() {
    for (const Stage& stage : all_stages()) { // a folder may hold some of them only
        const auto program = read_file(program_of(stage));
        if (program.find("__asan_init") != std::string::npos) return Sanitizer::address;
        if (program.find("__tsan_init") != std::string::npos) return Sanitizer::thread;
    }
    return Sanitizer::none;
}

} // namespace

void PrintTo(const Stage& stage, std::ostream* out) { *out << stage.name; }

std::vector<Stage> stages(int first, int last) {
    const auto table = make_table();
    std::vector<Stage> chosen;
    std::copy_if(table.begin(), table.end(), std::back_inserter(chosen),
                 [=](const Stage& stage) { return stage.number >= first && stage.number <= last; });
    return chosen;
}

std::string program_of(const Stage& stage) {
    const char* folder = std::getenv("STAGE_BINARIES");
    return std::string{folder == nullptr ? STAGE_BIN_DIR : folder} + '/' + stage.name;
}

Sanitizer sanitizer() {
    static const Sanitizer found = find_sanitizer();
    return found;
}

std::string stage_name(const testing::TestParamInfo<Stage>& parameter) {
    return parameter.param.name;
}
