#include "sherd/comm/communicator.hpp"

namespace sherd {

std::string_view name_of(Collective c) {
  switch (c) {
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::broadcast:
      return "broadcast";
    case Collective::barrier:
      return "barrier";
  }
  return "?";
}

std::int64_t Traffic::bytes_sent() const {
  std::int64_t sum = 0;
  for (const Row& r : row) sum += r.bytes_sent;
  return sum;
}

Traffic Traffic::operator-(const Traffic& earlier) const {
  Traffic difference;
  for (std::size_t i = 0; i < row.size(); ++i) {
    difference.row[i].calls = row[i].calls - earlier.row[i].calls;
    difference.row[i].bytes_sent = row[i].bytes_sent - earlier.row[i].bytes_sent;
  }
  return difference;
}

}  // namespace sherd
