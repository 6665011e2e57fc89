// What the checks of the docs share: one test a page, and what becomes of a text that has drifted.
#pragma once

#include "markdown.h"

#include <gtest/gtest.h>
#include <string>
#include <vector>

/// The fixture of the tests that run once for each page.
class PageTest : public testing::TestWithParam<std::filesystem::path> {
protected:
    const Page page = read_page(GetParam());

    /// A failure at this line of the page.
    void fail_at(std::size_t line, const std::string& message) const;
};

/// Names a test's parameter by its page: Docs.Links/06_epoll_level.
std::string page_name(const testing::TestParamInfo<std::filesystem::path>& parameter);

/// Of a text that a program can write: fails at that line and shows the difference; with --update
/// notes that from `line` on `written`, so many lines, becomes `right`, and fails no test.
void expect_lines(const Page& page, std::size_t line, const std::vector<std::string>& written,
                  const std::vector<std::string>& right, const std::string& what);

/// Whether the docs are to be mended, not only checked.
void set_update(bool update);
bool updating();
/// A part of the path of the pages whose transcripts are run; "" for all (--page).
void set_only_page(const std::string& part);
const std::string& only_page();
/// Writes what --update has noted into the pages, and says so. For the end of the program.
void write_updates();
