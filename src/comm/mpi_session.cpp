#include <cstdlib>
#include <exception>
#include <utility>

#include "sherd/base/log.hpp"
#include "sherd/comm/mpi.hpp"

namespace sherd {

void mpi_check(int rc, const char* call, std::source_location at) {
  if (rc == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(rc, text, &length);
  throw Error(ExitCode::communication, fmt::format("{}: {}", call, text), at);
}

MpiComm::MpiComm(MPI_Comm comm) : comm_(comm) {
  MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
}

MpiComm MpiComm::duplicate(MPI_Comm parent) {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_dup(parent, &comm));
  return MpiComm(comm);
}

MpiComm MpiComm::split(MPI_Comm parent, int color, int key) {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split(parent, color, key, &comm));
  return MpiComm(comm);
}

MpiComm MpiComm::split_node(MPI_Comm parent) {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split_type(parent, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &comm));
  return MpiComm(comm);
}

MpiComm::~MpiComm() {
  if (comm_ != MPI_COMM_NULL && MPI_Comm_free(&comm_) != MPI_SUCCESS) log::warn("MPI_Comm_free failed");
}

MpiComm::MpiComm(MpiComm&& other) noexcept : comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}

int MpiComm::rank() const {
  int rank = 0;
  MPI_CHECK(MPI_Comm_rank(comm_, &rank));
  return rank;
}

int MpiComm::size() const {
  int size = 1;
  MPI_CHECK(MPI_Comm_size(comm_, &size));
  return size;
}

MpiSession::MpiSession() : exceptions_(std::uncaught_exceptions()) {
  // Over TCP, Open MPI's put protocol moves both ways at half the wire's rate; sends do not. Fragments as long as our
  // messages take a fifth less CPU time than those of 128 KiB (docs/performance.md). Other transports and other MPIs do
  // not read this, and the user's own settings stay.
  ::setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
  ::setenv("OMPI_MCA_btl_tcp_max_send_size", "524288", 0);
  int provided = MPI_THREAD_SINGLE;
  MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided));
  MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_SERIALIZED) {
    MPI_Finalize();
    throw comm_error(
        "this MPI offers thread level {}, and Sherd needs MPI_THREAD_SERIALIZED ({}); use an MPI built with threads",
        provided, MPI_THREAD_SERIALIZED);
  }
  MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &size_));
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > exceptions_) abort(ExitCode::internal);
  if (MPI_Finalize() != MPI_SUCCESS) log::warn("MPI_Finalize failed");
}

void MpiSession::abort(ExitCode code) const noexcept {
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::abort();  // MPI_Abort does not return; the compiler does not know
}

}  // namespace sherd
