#include "stage_sources.h"

#include "harness/support.h"

#include <algorithm>

std::filesystem::path file_of(const Stage& stage, const std::string& name) {
    return std::filesystem::path{SOURCE_DIR} / stage.folder() / name;
}

std::string source_of(const Stage& stage, const std::string& name) {
    return read_file(file_of(stage, name));
}

std::vector<std::string> sources_of(const Stage& stage) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(file_of(stage, ""))) {
        const auto extension = entry.path().extension();
        if (extension == ".cpp" || extension == ".h") names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> sources_of_server(const Stage& stage) {
    auto names = sources_of(stage);
    std::erase(names, "bare.cpp");
    return names;
}
