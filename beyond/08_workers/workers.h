// What this stage is about: threads for the calls that block.
//
// The event loop must not wait for the disk, because then all clients would
// wait. So it puts each request into a queue, as a job. Worker threads take the
// jobs from there and store them. They put what they have finished into a
// second list, and wake the loop with an eventfd. That is a counter in the
// kernel, with a descriptor. It is readable when the counter is not 0, so the
// loop can wait for it together with its clients.
#pragma once

#include "common.h"
#include "console.h"
#include "store.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

// A request on its way to the database, and back to the event loop.
struct Job {
    // The connection that waits for it. When the job comes back, another client
    // may have the descriptor. Then it has another generation.
    int descriptor;
    std::uint64_t generation;
    // The request.
    std::string head;
    // A worker sets this.
    bool is_stored = false;
};

// A pool of worker threads, and the two lists between them and the event loop.
// The loop calls submit() and take_finished(). Neither waits for the disk.
class Workers {
public:
    // Throws if the database can't be opened, or a thread can't be started.
    // With a `count` of 0 there are no workers. Then submit() stores the job
    // itself, so that you can see what the workers are good for.
    Workers(std::size_t count, std::size_t max_waiting, const std::string& file,
            Console& console)
        : max_waiting_(max_waiting), has_workers_(count > 0),
          console_(console) {
        const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        event_ = Fd(check(fd, "eventfd"));
        if (!has_workers_) {
            stores_.emplace_back(file);
        }
        for (std::size_t i = 0; i < count; ++i) {
            stores_.emplace_back(file);
            start_thread(stores_.back());
        }
    }

    // There is no destructor. That of each std::jthread asks its worker to
    // stop, and joins it. A worker finishes the commit that it has begun. The
    // jobs that still wait are lost, but no client has had an answer to those.

    // It is readable when take_finished() has something to return.
    [[nodiscard]] int descriptor() const {
        return event_.get();
    }

    // Puts a job into the queue. Returns false if the queue is full.
    bool submit(Job job) {
        {
            const std::lock_guard lock(jobs_mutex_);
            if (waiting_.size() >= max_waiting_) {
                return false;
            }
            waiting_.push_back(std::move(job));
        }
        job_waits_.notify_one();
        if (!has_workers_) {
            store_waiting(stores_.front());
        }
        return true;
    }

    // Returns what has been finished since the last call.
    std::list<Job> take_finished() {
        // This sets the counter to 0. We do it before we look at the list. If a
        // worker finishes a job in between, we take that now, and are woken
        // once more for nothing. The other way round, we could miss it.
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t n =
            ::read(event_.get(), &count, sizeof count);
        std::list<Job> finished;
        const std::lock_guard lock(jobs_mutex_);
        finished.swap(finished_);
        return finished;
    }

private:
    void start_thread(Store& store) {
        try {
            threads_.emplace_back([this, &store](const std::stop_token& stop) {
                while (wait_for_job(stop)) {
                    store_waiting(store);
                }
            });
        } catch (const std::system_error& error) {
            // The text of this error is only "Resource temporarily
            // unavailable". So we put "thread: " in front of it.
            throw std::system_error(error.code(), "thread");
        }
    }

    // Returns false if the worker must stop.
    bool wait_for_job(const std::stop_token& stop) {
        std::unique_lock lock(jobs_mutex_);
        // wait() unlocks the mutex while it waits. It also ends when the worker
        // is asked to stop.
        job_waits_.wait(lock, stop, [this] { return !waiting_.empty(); });
        return !stop.stop_requested();
    }

    // Stores all jobs that are waiting, with one commit. The disk takes about
    // as long for a hundred requests as for one. So the more clients there are,
    // the less often each of them waits for the disk.
    void store_waiting(Store& store) {
        std::list<Job> jobs;
        try {
            // We take the jobs only when it is our turn to write. Otherwise
            // they would wait here, and another worker could have taken them
            // along. If it is not our turn, the worker tries again.
            if (!store.begin() && has_workers_) {
                return;
            }
            jobs = take_waiting();
            for (const Job& job : jobs) {
                store.add(job.head);
            }
            store.commit();
            for (Job& job : jobs) {
                job.is_stored = true;
            }
        } catch (const std::exception& error) {
            // The disk may be full. The clients get a 503, and we go on.
            console_.complain(reason_of(error));
            store.roll_back();
            if (jobs.empty()) {
                jobs = take_waiting();
            }
        }
        finish(jobs);
    }

    std::list<Job> take_waiting() {
        std::list<Job> jobs;
        const std::lock_guard lock(jobs_mutex_);
        jobs.swap(waiting_);
        return jobs;
    }

    // Hands the jobs back to the event loop.
    void finish(std::list<Job>& jobs) {
        {
            const std::lock_guard lock(jobs_mutex_);
            // splice() moves the jobs to the other list. It needs no memory, so
            // it can't fail. A job that got lost here would leave its client
            // without an answer.
            finished_.splice(finished_.end(), jobs);
        }
        // This adds 1 to the counter, and that wakes the loop.
        const std::uint64_t one = 1;
        ssize_t n = -1;
        do {
            n = ::write(event_.get(), &one, sizeof one);
        } while (n == -1 && errno == EINTR);
    }

    const std::size_t max_waiting_;
    const bool has_workers_;
    Console& console_;
    Fd event_;
    // A list, because a worker has a reference to its element.
    std::list<Store> stores_;
    // We notify this when a job has been put into waiting_.
    std::condition_variable_any job_waits_;
    // Lock this before you use one of the two lists.
    std::mutex jobs_mutex_;
    std::list<Job> waiting_;
    std::list<Job> finished_;
    // It comes last, so it is destroyed first: the workers end before
    // everything that they use.
    std::list<std::jthread> threads_;
};
