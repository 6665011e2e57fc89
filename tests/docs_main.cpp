// main() of the docs' checks: GoogleTest's own, and --update, which mends what a program can write.
//
//   docs_test --update

#include "docs_pages.h"

#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    CLI::App options{"The checks of README.md and docs/"};
    bool update = false;
    options.add_flag("--update", update, "Write anew what a program can write");
    CLI11_PARSE(options, argc, argv);
    set_update(update);
    const int result = RUN_ALL_TESTS();
    write_updates();
    return result;
}
