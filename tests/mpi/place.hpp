#pragma once
// Where the tensors of a test lie and what joins them: the same tests are linked with the CPU's memory and MPI
// (cpu_place.cpp) and with a CUDA device's and collectives staged through the host (cuda_place.cpp).
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "sherd/comm/mpi.hpp"
#include "sherd/device/device.hpp"

namespace sherd::test {

class Place {
 public:
  virtual ~Place() = default;
  virtual Device& device() = 0;
  virtual std::unique_ptr<Communicator> join(MpiComm comm, std::string axis, MpiOptions options) = 0;
  /// Bytes to and from a tensor; done when it returns.
  virtual void write(Tensor to, const void* from) = 0;
  virtual void read(Tensor from, void* to) = 0;
};
/// Staging is as small as it may be, so that small tensors go in several pieces.
std::unique_ptr<Place> make_place();

/// Tensors of a test in a place's memory; they live as long as this.
class Tensors {
 public:
  explicit Tensors(Place& place) : place_(place), arena_(place.device().arena("test", std::size_t{16} << 20)) {}

  template <class T>
  Tensor put(const std::vector<T>& values) {
    const Tensor t = arena_.take(dtype_of<T>, {static_cast<std::int64_t>(values.size())});
    place_.write(t, values.data());
    return t;
  }
  template <class T>
  std::vector<T> get(Tensor t) const {
    std::vector<T> values(t.as<T>().size());
    place_.read(t, values.data());
    return values;
  }

 private:
  Place& place_;
  Arena arena_;
};

}  // namespace sherd::test
