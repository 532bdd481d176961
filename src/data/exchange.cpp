#include "sherd/data/exchange.hpp"

#include <filesystem>

#include "sherd/base/narrow.hpp"

namespace sherd {
namespace {

class SelfExchange : public Exchange {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::vector<std::string> all_gather(const std::string& mine) override { return {mine}; }
};

void require_success(int result, const char* call) {
  if (result != MPI_SUCCESS) throw comm_error("{} failed ({})", call, result);
}

class WorldExchange : public Exchange {
 public:
  explicit WorldExchange(MPI_Comm comm) : comm_(comm) {
    require_success(MPI_Comm_rank(comm, &rank_), "MPI_Comm_rank");
    require_success(MPI_Comm_size(comm, &size_), "MPI_Comm_size");
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::vector<std::string> all_gather(const std::string& mine) override {
    const auto world = static_cast<std::size_t>(size_);
    const int length = narrow<int>(mine.size());
    std::vector<int> lengths(world), begins(world, 0);
    require_success(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, comm_), "MPI_Allgather");
    for (std::size_t i = 1; i < world; ++i) begins[i] = narrow<int>(std::int64_t{begins[i - 1]} + lengths[i - 1]);
    std::string all(static_cast<std::size_t>(begins.back()) + static_cast<std::size_t>(lengths.back()), '\0');
    require_success(
        MPI_Allgatherv(mine.data(), length, MPI_CHAR, all.data(), lengths.data(), begins.data(), MPI_CHAR, comm_),
        "MPI_Allgatherv");
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < world; ++i) {
      parts.push_back(all.substr(static_cast<std::size_t>(begins[i]), static_cast<std::size_t>(lengths[i])));
    }
    return parts;
  }

 private:
  MPI_Comm comm_;
  int rank_ = 0, size_ = 1;
};

}  // namespace

std::unique_ptr<Exchange> self_exchange() {
  return std::make_unique<SelfExchange>();
}
std::unique_ptr<Exchange> mpi_exchange(MPI_Comm comm) {
  return std::make_unique<WorldExchange>(comm);
}

std::optional<Error> first_error(Exchange& peers, const std::function<void()>& work) {
  std::string outcome;  // empty: well; else the exit code as one character, then the message
  try {
    work();
  } catch (const Error& error) {
    outcome = static_cast<char>(error.code()) + std::string(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    outcome = static_cast<char>(ExitCode::bad_input) + std::string(error.what());
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
