// The files of a stage.
#pragma once

#include "harness/stages.h"

#include <filesystem>
#include <string>
#include <vector>

/// Where a file of a stage is.
std::filesystem::path file_of(const Stage& stage, const std::string& name);

/// What a file of a stage holds.
std::string source_of(const Stage& stage, const std::string& name = "main.cpp");

/// The names of a stage's sources, in alphabetical order.
std::vector<std::string> sources_of(const Stage& stage);

/// Those of its server: all but bare.cpp.
std::vector<std::string> sources_of_server(const Stage& stage);
