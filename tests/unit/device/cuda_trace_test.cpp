// The trace of CUDA streams, on the emulated device, whose clock counts what the test says that work takes.
#include <gtest/gtest.h>

#include <algorithm>

#include "fibers.hpp"
#include "sherd/base/error.hpp"
#include "sherd/device/cuda/device.hpp"
#include "sherd/device/cuda/stream.hpp"

namespace sherd::cuda {
namespace {

constexpr double kMicrosecond = 1e-6, kExact = 7e-8;  // what floats of milliseconds hold within half a second

class CudaTrace : public testing::Test {
 protected:
  void SetUp() override { device->trace().start(100000); }

  /// `microseconds` on the device, and `host` for the host to launch it.
  void run(Stream& s, const char* op, double microseconds, double host = 0) {
    cudaLaunchConfig_t config{};
    config.stream = native(s);
    will_run(s);
    emulation::host_takes(host);
    CUDA_CHECK(emulation::launch(config, nullptr,
                                 [=] { emulation::take_time(microseconds - emulation::kernel_microseconds()); }));
    ran(s, op);
  }
  std::vector<TraceSlice> taken() {
    compute->synchronize();
    comm->synchronize();
    std::vector<TraceSlice> slices = device->trace().take();
    std::sort(slices.begin(), slices.end(),
              [](const TraceSlice& a, const TraceSlice& b) { return a.sequence < b.sequence; });
    return slices;
  }
  static double length(const TraceSlice& slice) { return slice.end - slice.begin; }

  const std::unique_ptr<Device> device = make_device(0);
  const std::unique_ptr<Stream> compute = device->stream("compute", StreamKind::compute),
                                comm = device->stream("comm", StreamKind::communication);
};

TEST_F(CudaTrace, TimesOperationsOneAfterTheOther) {
  for (int i = 0; i < 600; ++i) run(*compute, "linear", 100 + i);
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 600u);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    EXPECT_NEAR(length(slices[i]), (100 + static_cast<double>(i)) * kMicrosecond, kExact);
    EXPECT_NEAR(slices[i].begin, i == 0 ? slices[0].begin : slices[i - 1].end, kExact);
  }
}

/// A host that runs ahead waits for events only: a long trace does not keep two events of every operation until its
/// end.
TEST_F(CudaTrace, TakesWhatIsDoneWhenAnEventIsWaitedFor) {
  const std::unique_ptr<Event> done = device->event("step done");
  for (int i = 0; i < 600; ++i) run(*compute, "first step", 100);
  compute->record(*done);
  for (int i = 0; i < 100; ++i) run(*compute, "next step", 100);
  compute->synchronize(*done);
  std::vector<TraceSlice> slices = device->trace().take();
  EXPECT_EQ(slices.size(), 512u);
  for (const TraceSlice& rest : taken()) slices.push_back(rest);
  ASSERT_EQ(slices.size(), 700u);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    EXPECT_STREQ(slices[i].op, i < 600 ? "first step" : "next step");
    EXPECT_NEAR(length(slices[i]), 100 * kMicrosecond, kExact);
  }
  compute->synchronize(*done);  // once more, with nothing left of it
}

TEST_F(CudaTrace, ShowsTheGapsInWhichTheDeviceIdles) {
  run(*compute, "one", 50);
  compute->synchronize();
  emulation::host_takes(300);  // reads a result, say
  run(*compute, "two", 50);
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_NEAR(slices[1].begin - slices[0].end, 300 * kMicrosecond, kExact);
  EXPECT_NEAR(length(slices[1]), 50 * kMicrosecond, kExact);
}

/// The event before an operation passes at once on a stream that has run dry, the operation begins when it is launched.
TEST_F(CudaTrace, DoesNotTakeTheHostsLaunchForWork) {
  for (int i = 0; i < 20; ++i) run(*compute, "bound by the host", 3, 10);
  std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 20u);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    EXPECT_NEAR(length(slices[i]), 3 * kMicrosecond, kExact);
    if (i == 0) continue;
    EXPECT_NEAR(slices[i].begin - slices[i - 1].end, 7 * kMicrosecond, kExact);
  }
  run(*compute, "first", 1000, 10);
  for (int i = 0; i < 20; ++i) run(*compute, "behind it", 30, 10);
  slices = taken();
  for (std::size_t i = 1; i < slices.size(); ++i) {
    EXPECT_NEAR(length(slices[i]), 30 * kMicrosecond, kExact) << i;
    EXPECT_NEAR(slices[i].begin, slices[i - 1].end, kExact) << i;
  }
}

TEST_F(CudaTrace, HasWaitsOfBothStreams) {
  const auto sent = device->event("sent"), done = device->event("done");
  run(*comm, "all_gather", 500);
  comm->record(*sent);
  run(*compute, "before", 100);
  compute->wait(*sent);
  run(*compute, "linear", 200);
  compute->record(*done);
  comm->wait(*done);
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 5u);
  EXPECT_STREQ(slices[2].op, Trace::kWaitsForCommunication);
  EXPECT_NEAR(length(slices[2]), 400 * kMicrosecond, kExact);
  EXPECT_NEAR(slices[2].end, slices[0].end, kExact);
  EXPECT_STREQ(slices[4].op, Trace::kWaitsForComputation);
  EXPECT_NEAR(length(slices[4]), 200 * kMicrosecond, kExact);
}

TEST_F(CudaTrace, KeepsMicrosecondsOfLongTraces) {
  const auto go = device->event("go");
  for (int second = 0; second < 300; ++second) {
    run(*compute, "long", 1e6);
    run(*compute, "short", 1);
  }
  compute->record(*go);
  comm->wait(*go);
  run(*comm, "late", 1);
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 602u);
  for (std::size_t i = 1; i < 600; i += 2) EXPECT_NEAR(length(slices[i]), kMicrosecond, 1e-7) << i;
  EXPECT_NEAR(slices[599].end - slices[0].begin, 300.0003, 1e-4);
  EXPECT_NEAR(slices[601].begin, slices[599].end, 1e-4);
}

TEST_F(CudaTrace, IsSilentWhilePaused) {
  device->trace().pause();
  run(*compute, "paused", 10);
  compute->mark("paused");
  device->trace().resume();
  compute->mark("here");
  run(*compute, "seen", 10);
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_STREQ(slices[0].op, "here");
  EXPECT_NEAR(length(slices[0]), 0, kExact);
  EXPECT_STREQ(slices[1].op, "seen");
}

TEST_F(CudaTrace, KeepsNoEventsOfWhatItHasNoRoomFor) {
  device->trace().start(2);
  for (int i = 0; i < 5; ++i) run(*compute, "work", 10);
  EXPECT_EQ(taken().size(), 2u);
  EXPECT_EQ(device->trace().dropped(), 3u);
}

TEST_F(CudaTrace, WantsToBeToldBeforeAnOperation) {
  try {
    ran(*compute, "forgotten");
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("forgotten ran, and will_run() was not called before"), std::string::npos);
  }
}

TEST_F(CudaTrace, HasHostWork) {
  bool worked = false;
  enqueue_host(*comm, "all_reduce", [&] { worked = true; });
  const std::vector<TraceSlice> slices = taken();
  ASSERT_EQ(slices.size(), 1u);
  EXPECT_TRUE(worked);
  EXPECT_STREQ(slices[0].op, "all_reduce");
  EXPECT_NEAR(length(slices[0]), emulation::kernel_microseconds() * kMicrosecond, kExact);
}

}  // namespace
}  // namespace sherd::cuda
