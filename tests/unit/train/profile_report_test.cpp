// Slices that the tests invent, and what is told of them.
#include "sherd/train/profile_report.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "sherd/file/json.hpp"

namespace sherd {
namespace {

/// A trace is written as it would be enqueued; times are microseconds.
class Slices {
 public:
  void add(int stream, const char* op, double begin, double end, std::vector<TraceRange> ranges = {}) {
    TraceSlice slice;
    slice.op = op;
    slice.stream = stream;
    slice.step = step;
    slice.sequence = std::ssize(all);
    slice.begin = begin / 1e6;
    slice.end = end / 1e6;
    slice.ranges = ranges.size();
    std::copy(ranges.begin(), ranges.end(), slice.range.begin());
    all.push_back(slice);
  }
  std::int64_t step = 3;
  std::vector<TraceSlice> all;
};

/// Two micro-batches of one block, with 100 of 1000 microseconds in which nothing runs.
Slices some_step() {
  Slices s;
  s.add(0, kStepBegins, 0, 0);
  s.add(0, "upload", 0, 10);
  for (const double at : {10.0, 410.0}) {
    s.add(1, "waits for computation", at, at + 5, {{"forward"}});
    s.add(1, "all_gather", at + 5, at + 55, {{"forward"}, {"gather block", 4096}});
    s.add(0, "waits for communication", at, at + 50, {{"forward"}});
    s.add(0, "linear", at + 50, at + 150, {{"forward"}, {"block"}});
    s.add(0, "attention", at + 150, at + 200, {{"forward"}, {"block"}});
    s.add(0, "swiglu", at + 200, at + 250, {{"forward"}, {"head"}});
    s.add(0, "linear_grad_weight", at + 250, at + 350, {{"backward"}, {"head"}});
    // 50 microseconds of nothing
  }
  s.add(0, "adamw", 810, 990, {{"optimizer"}, {"block"}});
  s.add(0, "download", 990, 1000);
  s.add(0, kStepEnds, 1000, 1000);
  return s;
}

const std::vector<TraceStream> kStreams{{"compute", true}, {"comm", false}};

Profile read(const Slices& slices) {
  std::vector<TraceSlice> shuffled(slices.all.rbegin(), slices.all.rend());  // streams add as they finish
  return read_profile(std::move(shuffled), kStreams);
}

TEST(ProfileReport, SharesTheTimeOutAmongKindsAndIdleness) {
  const Profile profile = read(some_step());
  ASSERT_EQ(profile.steps.size(), 1u);
  const ProfiledStep& step = profile.steps[0];
  EXPECT_EQ(step.step, 3);
  EXPECT_EQ(step.length(), 1'000'000);
  EXPECT_EQ(step.busy, (std::array<std::int64_t, kOpKinds>{400'000, 100'000, 120'000, 180'000, 100'000, 0}));
  EXPECT_EQ(step.idle(), 100'000);
  EXPECT_EQ(step.collectives, 100'000);
  const TimeShares shares = shares_of(profile.steps);
  EXPECT_NEAR(shares.idle, 0.1, 1e-12);
  EXPECT_NEAR(std::accumulate(shares.of.begin(), shares.of.end(), shares.idle), 1, 1e-12);
}

TEST(ProfileReport, NumbersMicroBatches) {
  const Profile profile = read(some_step());
  std::string seen;
  for (const ProfiledOp& op : profile.ops)
    seen += fmt::format("{}{} ", op.op == "linear" || op.op == "all_gather" || op.op == "adamw" ? op.op : "",
                        op.micro_batch);
  EXPECT_EQ(seen, "-1 0 linear0 0 0 0 1 linear1 1 1 1 adamw-1 -1 0 all_gather0 1 all_gather1 ");
}

TEST(ProfileReport, FindsPhaseAndUnitInAnyOrder) {
  Slices s;
  s.add(0, kStepBegins, 0, 0);
  s.add(0, "embedding", 0, 10, {{"root"}, {"forward"}});  // a tied root is entered before the phase
  s.add(0, "linear", 10, 20, {{"root"}, {"forward"}, {"model.layers.0"}});
  s.add(0, kStepEnds, 20, 20);
  const Profile profile = read(s);
  ASSERT_EQ(profile.ops.size(), 2u);
  EXPECT_EQ(profile.ops[0].phase, "forward");
  EXPECT_EQ(profile.ops[0].unit, "root");
  EXPECT_EQ(profile.ops[1].unit, "model.layers.0");
}

TEST(ProfileReport, LeavesOutAStepWithoutItsEnd) {
  Slices s = some_step();
  s.step = 4;
  s.add(0, kStepBegins, 1100, 1100);
  s.add(0, "linear", 1100, 1200);
  const Profile profile = read(s);
  ASSERT_EQ(profile.steps.size(), 1u);
  EXPECT_NEAR(shares_of(profile.steps).idle, 0.1, 1e-12);
  for (const OpTotal& op : totals_of(profile, {})) EXPECT_TRUE(op.op != "linear" || op.count == 2) << op.count;
}

TEST(ProfileReport, OfNothingIsNothing) {
  const Profile profile = read_profile({}, {});
  EXPECT_TRUE(profile.steps.empty());
  EXPECT_EQ(shares_of(profile.steps).idle, 0);
  JsonDocument::parse(trace_json(profile, {}), "the trace");
  JsonDocument::parse(summary_json(profile, {}, {}), "the summary");
  EXPECT_FALSE(summary_lines(profile, {}).empty());
}

TEST(ProfileReport, TellsTheRatesThatOperationsReached) {
  const Profile profile = read(some_step());
  const StepWork planned{{"linear", {2, 4e6, 0}}, {"swiglu", {2, 0, 3e6}}};
  const std::vector<OpTotal> totals = totals_of(profile, planned);
  ASSERT_FALSE(totals.empty());
  EXPECT_EQ(totals[0].op, "linear");  // as long as linear_grad_weight
  EXPECT_EQ(totals[0].count, 2);
  EXPECT_NEAR(totals[0].seconds, 200e-6, 1e-12);
  EXPECT_NEAR(totals[0].flops_per_second, 4e6 / 200e-6, 1);
  const auto swiglu = std::find_if(totals.begin(), totals.end(), [](const OpTotal& op) { return op.op == "swiglu"; });
  ASSERT_NE(swiglu, totals.end());
  EXPECT_NEAR(swiglu->bytes_per_second, 3e6 / 100e-6, 1);
  EXPECT_TRUE(std::is_sorted(totals.begin(), totals.end(),
                             [](const OpTotal& a, const OpTotal& b) { return a.seconds > b.seconds; }));
  for (const OpTotal& op : totals) EXPECT_NE(op.op, "all_gather");  // it is on the other stream
}

TEST(ProfileReport, AddsPartsToTheirWhole) {
  Slices s;
  s.add(0, kStepBegins, 0, 0);
  s.add(0, "attention_delta", 0, 10);
  s.add(0, "attention_grad", 10, 40);
  s.add(0, "never heard of", 40, 50);
  s.add(0, kStepEnds, 50, 50);
  const Profile profile = read(s);
  const std::vector<OpTotal> totals = totals_of(profile, {});
  ASSERT_EQ(totals.size(), 2u);
  EXPECT_EQ(totals[0].op, "attention_grad");
  EXPECT_EQ(totals[0].count, 2);
  EXPECT_NEAR(totals[0].seconds, 40e-6, 1e-12);
  EXPECT_EQ(profile.steps[0].busy[static_cast<std::size_t>(OpKind::other)], 10'000);
}

/// Chrome's rule: slices of a thread lie within each other or beside each other.
void expect_nested(const JsonValue& events) {
  struct Span {
    std::int64_t begin, end;
  };
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Span>> open;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const JsonValue event = events.at(i);
    if (event.at("ph").string() != "X") continue;
    const auto ns = [&](const char* key) { return std::llround(event.at(key).number() * 1000); };
    const Span span{ns("ts"), ns("ts") + ns("dur")};
    EXPECT_GE(ns("dur"), 0);
    std::vector<Span>& stack = open[{event.at("pid").integer(), event.at("tid").integer()}];
    while (!stack.empty() && stack.back().end <= span.begin) stack.pop_back();
    if (!stack.empty()) {
      EXPECT_GE(span.begin, stack.back().begin) << event.dump();
      EXPECT_LE(span.end, stack.back().end) << event.dump();
    }
    stack.push_back(span);
  }
}

TEST(TraceJson, NestsPhasesUnitsAndOperations) {
  const TraceTitle title{2, "rank 2 (node1)", 5'000'000, 1.7e9};
  const JsonDocument document = JsonDocument::parse(trace_json(read(some_step()), title), "the trace");
  const JsonValue events = document.root().at("traceEvents");
  expect_nested(events);
  std::string compute, comm;
  double first = -1;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const JsonValue event = events.at(i);
    EXPECT_EQ(event.at("pid").integer(), 2);
    if (event.at("ph").string() == "M") continue;
    if (first < 0) first = event.at("ts").number();
    (event.at("tid").integer() == 1 ? compute : comm) += event.at("name").string() + ",";
    if (event.at("name").string() == "all_gather") {
      EXPECT_EQ(event.at("args").at("bytes").integer(), 4096);
    }
    if (event.at("name").string() == "linear") {
      EXPECT_EQ(event.at("args").at("step").integer(), 3);
      EXPECT_EQ(event.at("args").at("unit").string(), "block");
      EXPECT_EQ(event.at("cat").string(), "gemm");
    }
  }
  EXPECT_EQ(first, 5000);  // microseconds after the time that all ranks count from
  const std::string micro_batch =
      "forward,waits for communication,block,linear,attention,head,swiglu,backward,head,linear_grad_weight,";
  EXPECT_EQ(compute, "step,upload," + micro_batch + micro_batch + "optimizer,block,adamw,step,download,");
  EXPECT_EQ(comm,
            "step 3,waits for computation,gather block,all_gather,waits for computation,gather block,all_gather,");
}

TEST(TraceJson, HoldsHostileNames) {
  Slices s;
  const std::string unit = "\"},{\\\n\x01</script>", bytes = "\xff\xfe";
  s.add(0, kStepBegins, 0, 0);
  s.add(0, "a \"name\"\\", 0, 10, {{unit.c_str()}, {bytes.c_str()}});
  s.add(0, "linear", 10, 20, {{unit.c_str()}});
  s.add(0, kStepEnds, 20, 20);
  const Profile profile = read_profile(s.all, {{"compute\xc3", true}});
  const JsonDocument document = JsonDocument::parse(trace_json(profile, {0, "rank \"0\"\n\x80", 0, 0}), "the trace");
  const JsonValue events = document.root().at("traceEvents");
  std::vector<std::string> names;
  for (std::size_t i = 0; i < events.size(); ++i) names.push_back(events.at(i).at("name").string());
  EXPECT_NE(std::find(names.begin(), names.end(), unit), names.end());
  EXPECT_NE(std::find(names.begin(), names.end(), "??"), names.end());
  JsonDocument::parse(summary_json(profile, {}, {rank_json(profile, 0)}), "the summary");
}

TEST(TraceJson, ClocksThatOverlapAreSetRight) {
  Slices s;
  s.add(0, kStepBegins, 0, 0);
  s.add(0, "linear", 0, 10.5, {{"forward"}, {"a"}});
  s.add(0, "linear", 10, 20, {{"forward"}, {"b"}});
  s.add(0, "fill", 20, 19.5, {{"forward"}, {"b"}});
  s.add(0, kStepEnds, 20, 20);
  const Profile profile = read(s);
  expect_nested(JsonDocument::parse(trace_json(profile, {}), "the trace").root().at("traceEvents"));
  EXPECT_EQ(profile.steps[0].idle(), 0);
  for (const ProfiledOp& op : profile.ops) EXPECT_LE(op.begin, op.end);
}

TEST(SummaryJson, HasWhatOtherProgramsRead) {
  const Profile profile = read(some_step());
  SummaryFacts facts{4, 0.0009, {}};
  facts.needs.planned = facts.needs.needed = {{"linear", {2, 4e6, 0}}, {"swiglu", {2, 0, 3e6}}};
  facts.needs.rates = {4e10, 3e10, 8e10};
  const JsonDocument document =
      JsonDocument::parse(summary_json(profile, facts, {rank_json(profile, 0), rank_json(profile, 1)}), "the summary");
  const JsonValue root = document.root();
  EXPECT_EQ(root.at("version").integer(), 1);
  EXPECT_EQ(root.at("ranks").integer(), 4);
  EXPECT_NEAR(root.at("seconds_per_step").number(), 0.001, 1e-9);
  EXPECT_EQ(root.at("untraced_seconds_per_step").number(), 0.0009);
  EXPECT_NEAR(root.at("idle_share").number(), 0.1, 1e-9);
  EXPECT_NEAR(root.at("share").at("gemm").number(), 0.4, 1e-9);
  EXPECT_NEAR(root.at("speed_of_light").at("seconds").number(), 2e-4, 1e-9);
  EXPECT_NEAR(root.at("speed_of_light").at("share").number(), 0.2, 1e-6);
  EXPECT_EQ(root.at("speed_of_light").at("f8_flops_per_second").number(), 8e10);
  EXPECT_EQ(root.at("steps").size(), 1u);
  EXPECT_EQ(root.at("steps").at(0).at("step").integer(), 3);
  EXPECT_NEAR(root.at("steps").at(0).at("collectives_seconds").number(), 1e-4, 1e-9);
  EXPECT_EQ(root.at("operations").at(0).at("op").string(), "linear");
  EXPECT_NEAR(root.at("operations").at(0).at("flops_per_second").number(), 2e10, 1e5);
  EXPECT_EQ(root.at("by_rank").at(1).at("rank").integer(), 1);
  double sum = 0;
  for (const std::string& kind : root.at("share").keys()) sum += root.at("share").at(kind).number();
  EXPECT_NEAR(sum, 1, 1e-7);
}

TEST(SummaryLines, AreForPeople) {
  const Profile profile = read(some_step());
  EXPECT_EQ(step_line(profile.steps[0]),
            "profile: step 3  1.000 ms  gemm 40.0%  attention 10.0%  elementwise 12.0%  optimizer 18.0%  communication "
            "10.0%  idle 10.0%  (collectives 0.100 ms)");
  SummaryFacts facts{1, 0.0009, {}};
  facts.needs.planned = facts.needs.needed = {{"linear", {2, 4e6, 0}}, {"swiglu", {2, 0, 3e6}}};
  facts.needs.rates = {4e10, 3e10};
  const std::vector<std::string> lines = summary_lines(profile, facts);
  ASSERT_EQ(lines.size(), 3u + 8);
  EXPECT_TRUE(lines[0].starts_with("profile: 1 step, 1.000 ms each, 0.900 ms untraced; gemm 40.0%")) << lines[0];
  EXPECT_EQ(lines[1], "profile: speed of light 0.200 ms, 20.0% of a traced step");
  EXPECT_NE(lines[3].find("0.02 TFLOP/s  50%"), std::string::npos) << lines[3];
}

}  // namespace
}  // namespace sherd
