#include "sherd/data/exchange.hpp"

#include <chrono>
#include <filesystem>
#include <new>
#include <thread>

#include "sherd/base/narrow.hpp"
#include "sherd/comm/mpi.hpp"

namespace sherd {
namespace {

class SelfExchange : public Exchange {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> all_gather(const std::string& mine) override { return {mine}; }
};

using Clock = std::chrono::steady_clock;

/// Rank 0 collects all strings and sends them to everybody, one message at a time, polled against a deadline: it is the
/// one that knows who is missing. These are a few short strings between steps; tensors go through comm/.
class WorldExchange : public Exchange {
 public:
  WorldExchange(MPI_Comm comm, double timeout_seconds)
      : comm_(MpiComm::duplicate(comm)), timeout_(timeout_seconds), rank_(comm_.rank()), size_(comm_.size()) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<std::string> all_gather(const std::string& mine) override {
    begin_ = Clock::now();
    if (rank_ != 0) {
      send(mine, 0);
      return unpacked(receive(0, 1.5 * timeout_));  // rank 0 tells first, for it can say who is missing
    }
    std::vector<std::string> all(static_cast<std::size_t>(size_));
    all[0] = mine;
    collect(all);
    const std::string packed = packed_of(all);
    for (int r = 1; r < size_; ++r) send(packed, r);
    return all;
  }

 private:
  static constexpr int kTag = 1;

  double waited() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void collect(std::vector<std::string>& all) {
    std::vector<bool> here(all.size(), false);
    here[0] = true;
    for (int missing = size_ - 1; missing > 0;) {
      MPI_Status status;
      if (!arrived(MPI_ANY_SOURCE, status)) {
        if (waited() > timeout_) give_up(here);
        continue;
      }
      all[static_cast<std::size_t>(status.MPI_SOURCE)] = take(status);
      here[static_cast<std::size_t>(status.MPI_SOURCE)] = true;
      --missing;
    }
  }

  [[noreturn]] void give_up(const std::vector<bool>& here) const {
    std::string ranks;
    for (std::size_t r = 0; r < here.size(); ++r) {
      if (!here[r]) ranks += fmt::format("{}{}", ranks.empty() ? "" : ", ", r);
    }
    throw comm_error(
        "between two steps, rank {} did not come within {:.0f} s: it hangs, in the file system or "
        "elsewhere; look at its node",
        ranks, timeout_);
  }

  std::string receive(int from, double timeout) {
    MPI_Status status;
    while (!arrived(from, status)) {
      if (waited() > timeout) {
        throw comm_error("between two steps, nothing came from rank {} within {:.0f} s", from, timeout);
      }
    }
    return take(status);
  }

  /// True if a message waits; else a pause, after a while without yielding the core in vain.
  bool arrived(int from, MPI_Status& status) const {
    int flag = 0;
    MPI_CHECK(MPI_Iprobe(from, kTag, comm_.get(), &flag, &status));
    if (flag == 0) std::this_thread::sleep_for(std::chrono::microseconds(waited() < 0.01 ? 20 : 1000));
    return flag != 0;
  }

  std::string take(const MPI_Status& status) const {
    int length = 0;
    MPI_CHECK(MPI_Get_count(&status, MPI_CHAR, &length));
    std::string text(static_cast<std::size_t>(length), '\0');
    MPI_CHECK(MPI_Recv(text.data(), length, MPI_CHAR, status.MPI_SOURCE, kTag, comm_.get(), MPI_STATUS_IGNORE));
    return text;
  }

  void send(const std::string& text, int to) {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_CHECK(MPI_Isend(text.data(), narrow<int>(text.size()), MPI_CHAR, to, kTag, comm_.get(), &request));
    for (int done = 0; done == 0;) {
      MPI_CHECK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      if (done != 0) return;
      if (waited() > 2 * timeout_) throw comm_error("between two steps, rank {} took no message", to);
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  /// Each with its length before it.
  static std::string packed_of(const std::vector<std::string>& all) {
    std::string packed;
    for (const std::string& text : all) packed += fmt::format("{} ", text.size()) + text;
    return packed;
  }
  static std::vector<std::string> unpacked(const std::string& packed) {
    std::vector<std::string> all;
    for (std::size_t at = 0; at < packed.size();) {
      const std::size_t space = packed.find(' ', at), length = std::stoull(packed.substr(at, space - at));
      all.push_back(packed.substr(space + 1, length));
      at = space + 1 + length;
    }
    return all;
  }

  MpiComm comm_;
  double timeout_;
  int rank_, size_;
  Clock::time_point begin_{};
};

}  // namespace

std::unique_ptr<Exchange> self_exchange() {
  return std::make_unique<SelfExchange>();
}
std::unique_ptr<Exchange> mpi_exchange(MPI_Comm comm, double timeout_seconds) {
  return std::make_unique<WorldExchange>(comm, timeout_seconds);
}

std::optional<Error> first_error(Exchange& peers, const std::function<void()>& work) {
  std::string outcome;  // empty: well; else the exit code as one character, then the message
  try {
    work();
  } catch (const Error& error) {
    outcome = static_cast<char>(error.code()) + std::string(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    outcome = static_cast<char>(ExitCode::bad_input) + std::string(error.what());
  } catch (const std::bad_alloc&) {
    outcome = static_cast<char>(ExitCode::does_not_fit) + std::string("the memory of this node is used up");
  } catch (const std::exception& error) {
    outcome = static_cast<char>(ExitCode::internal) + std::string(error.what());
  }
  const std::vector<std::string> all = peers.all_gather(outcome);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    return Error(static_cast<ExitCode>(all[rank].front()), all[rank].substr(1)).told_by(narrow<int>(rank));
  }
  return {};
}

void together(Exchange& peers, const std::function<void()>& work) {
  if (const std::optional<Error> error = first_error(peers, work)) throw *error;
}

}  // namespace sherd
