#include "stages.h"

#include "programs.h"
#include "subject.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <ostream>

namespace {

/// What all servers have in common.
Stage server(int number, const std::string& name) {
    return {.number = number,
            .name = name,
            .head_too_long = "431",
            .silence = "408",
            .half_close = "200",
            .second_client_later = "200",
            .second_client_meanwhile = "200",
            .after_a_fin = "next: 200",
            .after_a_reset = "next: 200",
            .after_a_stop = "200",
            .beside_unread_response = "200",
            .beside_fast_reader = "200",
            .clients_held_open = "all at once",
            .out_of_descriptors = "60 x 200",
            .at_sigterm = "exit 0",
            .threads_with_50_clients = 1};
}

Stage workers() {
    Stage stage = server(8, "08_workers");
    stage.profile.keeps_requests = true;
    stage.threads_with_50_clients = 2;
    stage.beside_slow_disk = "4 x 200, 6 x 503";
    stage.after_a_left_job = "200";
    return stage;
}

std::vector<Stage> make_servers() {
    Stage single = server(1, "01_blocking_single");
    single.second_client_later = "refused";
    single.second_client_meanwhile = single.beside_unread_response = "waits, reset";
    single.after_a_fin = single.after_a_reset = "exit 1";
    Stage loop = server(2, "02_blocking_loop");
    loop.second_client_meanwhile = loop.beside_unread_response = loop.beside_fast_reader =
        "waits, 200";
    loop.clients_held_open = "1 at a time";
    Stage threaded = server(3, "03_threaded");
    threaded.threads_with_50_clients = 51;
    Stage select = server(4, "04_select");
    select.clients_held_open = "503 from descriptor 1024";
    return {single,
            loop,
            threaded,
            select,
            server(5, "05_poll"),
            server(6, "06_epoll_level"),
            server(7, "07_epoll_edge"),
            workers()};
}

/// The server that is tried: what is expected is what the stage manages as which it is judged, but
/// for what its profile does not claim.
Stage tried(const Subject& subject, Stage stage) {
    stage.name = "yours";
    const bool has_deadlines = subject.has("timeout_option") && subject.has("too_late");
    stage.profile = {.takes_options = has_deadlines,
                     .announces = false,
                     .has_deadlines = has_deadlines,
                     .has_long_backlog = subject.value_or("backlog", "long") == "long",
                     .ends_cleanly = subject.value_or("exit_code", "0") == "0"};
    stage.silence = has_deadlines ? subject.value_or("too_late", "") : "no answer";
    if (!subject.has("too_long") || subject.value_or("max_head", "") != "8192")
        stage.head_too_long = "";
    else stage.head_too_long = subject.value_or("too_long", "");
    if (!stage.profile.ends_cleanly) stage.at_sigterm = "SIGTERM";
    return stage;
}

/// Those of 08 are the faults of 07, and more. Its database and its eventfd take two descriptors.
void add_faults_of_workers(Stage& bare) {
    bare.beside_slow_disk = "10 x 200";
    bare.after_a_left_job = "gets the other's";
    bare.out_of_descriptors = "25 x 200";
}

/// The bare program of a stage. It has the stage's idea, and the faults that its header names.
Stage bare_program(const Stage& stage) {
    Stage bare = stage;
    bare.name += "_bare";
    bare.profile = {.takes_options = false,
                    .announces = false,
                    .has_deadlines = false,
                    .has_long_backlog = false,
                    .ends_cleanly = false,
                    .keeps_requests = stage.profile.keeps_requests};
    bare.head_too_long = "200";
    bare.silence = "no answer";
    bare.after_a_fin = "spins, next: 200";
    bare.after_a_reset = "exit 1";
    bare.out_of_descriptors = "exit 1";
    bare.at_sigterm = "SIGTERM";
    switch (std::min(stage.number, last_of_path)) {
    case 1:
    case 2:
        bare.after_a_fin = "spins, next: no answer";
        break;
    case 4:
        bare.clients_held_open = "SIGABRT";
        break;
    case 6:
        bare.after_a_stop = "exit 1";
        break;
    case 7:
        bare.after_a_fin = "spins, next: no answer";
        bare.half_close = "no answer";
        bare.after_a_reset = "keeps its descriptor, next: 200";
        bare.after_a_stop = "exit 1";
        bare.out_of_descriptors = "27 x 200";
        break;
    default:
        break;
    }
    if (stage.number == 8) add_faults_of_workers(bare);
    return bare;
}

std::vector<Stage> chosen_from(const std::vector<Stage>& all, int first, int last) {
    std::vector<Stage> chosen;
    std::copy_if(all.begin(), all.end(), std::back_inserter(chosen),
                 [=](const Stage& stage) { return stage.number >= first && stage.number <= last; });
    return chosen;
}

} // namespace

std::string Stage::folder() const {
    const std::string stage = name.substr(0, name.rfind("_bare"));
    return number > last_of_path ? "beyond/" + stage : stage;
}

void PrintTo(const Stage& stage, std::ostream* out) { *out << stage.name; }

std::vector<Stage> stages(int first, int last) {
    auto chosen = chosen_from(make_servers(), first, last);
    if (const Subject* server = subject()) {
        std::erase_if(chosen, [&](const Stage& stage) { return stage.number != server->number(); });
        for (Stage& stage : chosen) stage = tried(*server, stage);
    }
    return chosen;
}

std::vector<Stage> bare_programs(int first, int last) {
    if (subject() != nullptr) return {};
    auto programs = stages(first, last);
    std::transform(programs.begin(), programs.end(), programs.begin(), bare_program);
    return programs;
}

std::vector<Stage> stages_and_bare(int first, int first_bare) {
    auto all = stages(first);
    const auto bare = bare_programs(first_bare);
    all.insert(all.end(), bare.begin(), bare.end());
    return all;
}

std::vector<Stage> programs_beyond() { return stages_and_bare(last_of_path + 1, last_of_path + 1); }

std::vector<Stage> storing_stages_and_bare() {
    auto all = storing_stages();
    const auto bare = bare_programs(8, 8);
    all.insert(all.end(), bare.begin(), bare.end());
    return all;
}

std::string program_of(const Stage& stage) {
    return std::filesystem::absolute(program_folder()) / stage.name;
}

std::string stage_name(const testing::TestParamInfo<Stage>& parameter) {
    return parameter.param.name;
}
