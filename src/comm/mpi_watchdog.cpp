// What an exchange does when nobody answers: finds out who is missing, and says it (law 13).
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "mpi_exchange.hpp"

namespace sherd {
namespace {

constexpr int kRollTag = 7;  // messages have the tag 8 n + collective, and there are 5 collectives

}  // namespace

/// Half-way to the deadline each waiting rank tells all others which collective it waits in: whoever is silent has not
/// come. In a chunked exchange a rank can be held up by a missing third one; it must not be taken for missing itself.
void MpiExchange::call_roll() {
  int all_gone = 1;
  if (!roll_sends_.empty()) {
    check(MPI_Testall(static_cast<int>(roll_sends_.size()), roll_sends_.data(), &all_gone, MPI_STATUSES_IGNORE),
          "MPI_Testall");
  }
  if (all_gone == 0) return;
  roll_token_ = flight_.current().sequence;
  roll_sends_.clear();
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    roll_sends_.push_back(MPI_REQUEST_NULL);
    check(MPI_Isend(&roll_token_, sizeof roll_token_, MPI_BYTE, peer, kRollTag, comm_.get(), &roll_sends_.back()),
          "MPI_Isend");
  }
}

/// By rank: has it told that it waits in this collective? Answers from earlier ones are read and forgotten.
std::vector<bool> MpiExchange::answered_roll() {
  std::vector<bool> here(static_cast<std::size_t>(size_), false);
  for (;;) {
    int found = 0;
    MPI_Status status;
    check(MPI_Iprobe(MPI_ANY_SOURCE, kRollTag, comm_.get(), &found, &status), "MPI_Iprobe");
    if (found == 0) return here;
    std::int64_t token = -1;
    check(MPI_Recv(&token, sizeof token, MPI_BYTE, status.MPI_SOURCE, kRollTag, comm_.get(), MPI_STATUS_IGNORE),
          "MPI_Recv");
    if (token == flight_.current().sequence) here[static_cast<std::size_t>(status.MPI_SOURCE)] = true;
  }
}

void MpiExchange::give_up(std::vector<int> pending) {
  std::sort(pending.begin(), pending.end());
  pending.erase(std::unique(pending.begin(), pending.end()), pending.end());
  const std::vector<bool> here = answered_roll();
  std::vector<int> missing, waiting;
  for (const int p : pending) (here[static_cast<std::size_t>(p)] ? waiting : missing).push_back(p);
  const std::string who =
      missing.empty() ? names_of(waiting) + ", though it waits in the same collective"
                      : names_of(missing) + (missing.size() == 1 ? ", which has" : ", which have") + " not arrived";
  const std::string also = missing.empty() || waiting.empty() ? "" : fmt::format(" ({} waits, too)", names_of(waiting));
  throw comm_error(
      "{}: waited {} s in vain for {}{}. Look there for the first error, a full disk or a slow node; if that rank only "
      "needs "
      "longer, raise --comm-timeout.{}",
      doing(), options_.timeout_seconds, who, also, write_flight_record());
}

std::string MpiExchange::name_of_rank(int rank) const {
  return options_.rank_names.empty() ? fmt::format("rank {}", rank)
                                     : options_.rank_names[static_cast<std::size_t>(rank)];
}

std::string MpiExchange::names_of(const std::vector<int>& ranks) const {
  std::string text;
  for (const int r : ranks) text += (text.empty() ? "" : ", ") + name_of_rank(r);
  return text;
}

/// "rank 0 (node0), all_gather 'gather model.layers.3' of step 12 on axis shard"
std::string MpiExchange::doing() const {
  const FlightRecorder::Entry& e = flight_.current();
  return fmt::format("{}, {} '{}' of step {} on axis {}", name_of_rank(rank_), name_of(e.collective), e.tag.what,
                     e.tag.step, axis_);
}

/// Writes the file that the options name; what the error says about it, or nothing.
std::string MpiExchange::write_flight_record() const {
  const std::string& path = options_.flight_record;
  if (path.empty()) return "";
  const std::string text = flight_.json(axis_, name_of_rank(rank_));
  std::FILE* file = std::fopen(path.c_str(), "w");
  bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) good = std::fclose(file) == 0 && good;
  return good ? fmt::format(" The last collectives of this rank are in {}.", path)
              : fmt::format(" (The flight record {} cannot be written: {}.)", path, std::strerror(errno));
}

void MpiExchange::check(int rc, const char* call) const {
  if (rc == MPI_SUCCESS) return;
  mpi_check(rc, fmt::format("{}: {}", doing(), call).c_str());
}

}  // namespace sherd
