// The database: where the requests are kept.
//
// SQLite is a library that keeps a database in a file. Its calls read and write
// files, and so they wait for the disk. epoll can't tell us when that would be
// over: to epoll a file is always ready. So only the threads of workers.h make
// these calls.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <stdexcept>
#include <string>

// A connection to the database. Each worker has its own, so no two threads use
// one at the same time. Its functions throw if the database can't do what they
// ask for.
class Store {
public:
    // Opens the database. Makes it if the file does not exist.
    explicit Store(const std::string& file) {
        sqlite3* database = nullptr;
        const int result = ::sqlite3_open(file.c_str(), &database);
        // There is something to close, even if sqlite3_open() has failed.
        database_.reset(database);
        check_result(result, "open " + file);
        // The server that ran before us may still be closing the database.
        ::sqlite3_busy_timeout(database, longest_start);
        // Changes go to a second file first, the write-ahead log. So a commit
        // takes one wait for the disk. It would take several without this.
        run("PRAGMA journal_mode = WAL");
        // A commit returns only when its changes are on the disk. Without this,
        // they may still be in memory.
        run("PRAGMA synchronous = FULL");
        run("CREATE TABLE IF NOT EXISTS requests ("
            "number INTEGER PRIMARY KEY, head BLOB NOT NULL)");
        prepare_insert();
        // From now on, others who write keep us waiting for this long only.
        ::sqlite3_busy_timeout(database, longest_turn);
    }

    // Begins a transaction: a group of changes that a commit makes together.
    // Returns false if another connection is writing, and does not finish in
    // time. SQLite lets only one connection write at a time.
    bool begin() {
        const int result = execute("BEGIN IMMEDIATE");
        if (result == SQLITE_BUSY) {
            return false;
        }
        check_result(result, "begin");
        return true;
    }

    void add(const std::string& head) {
        sqlite3_stmt* insert = insert_.get();
        const int size = static_cast<int>(head.size());
        // SQLITE_STATIC says that `head` stays valid while SQLite uses it.
        ::sqlite3_bind_blob(insert, 1, head.data(), size, SQLITE_STATIC);
        ::sqlite3_step(insert);
        // This returns the error of the step, if there was one.
        check_result(::sqlite3_reset(insert), "insert");
    }

    // When this returns, everything that was added is on the disk.
    void commit() {
        run("COMMIT");
    }

    // Undoes what was added. Does nothing if no transaction has begun.
    void roll_back() {
        execute("ROLLBACK");
    }

private:
    static constexpr int longest_start = 5000; // milliseconds
    static constexpr int longest_turn = 500;   // milliseconds

    // How std::unique_ptr gives back what it owns.
    struct Closer {
        void operator()(sqlite3* database) const {
            ::sqlite3_close(database);
        }
        void operator()(sqlite3_stmt* statement) const {
            ::sqlite3_finalize(statement);
        }
    };

    void prepare_insert() {
        const char* sql = "INSERT INTO requests (head) VALUES (?)";
        sqlite3_stmt* statement = nullptr;
        const int result =
            ::sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr);
        insert_.reset(statement);
        check_result(result, "prepare");
    }

    int execute(const char* sql) {
        return ::sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
    }

    void run(const char* sql) {
        check_result(execute(sql), sql);
    }

    void check_result(int result, const std::string& what) {
        if (result != SQLITE_OK) {
            const std::string reason = ::sqlite3_errmsg(database_.get());
            throw std::runtime_error("database: " + what + ": " + reason);
        }
    }

    std::unique_ptr<sqlite3, Closer> database_;
    // "Add a request", translated by SQLite once, and used for each request.
    // It belongs to the database, and so it is destroyed before it.
    std::unique_ptr<sqlite3_stmt, Closer> insert_;
};
