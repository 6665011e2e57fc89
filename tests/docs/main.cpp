// main() of the docs' checks: GoogleTest's own, and --update, which mends what a program can write.
//
//   docs_test --update
//   docs_test --gtest_filter='DocsConsole*' --page 06_epoll

#include "pages.h"

#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App options{"The checks of README.md and docs/"};
    bool update = false;
    options.add_flag("--update", update, "Write anew what a program can write");
    std::string part;
    options.add_option("--page", part, "Run the transcripts of pages with this in their path only");
    CLI11_PARSE(options, argc, argv);
    set_update(update);
    set_only_page(part);
    const int result = RUN_ALL_TESTS();
    write_updates();
    return result;
}
