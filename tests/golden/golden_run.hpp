#pragma once
// One rank that holds a golden case's model: what the program builds from its configuration, by hand.
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "golden_file.hpp"
#include "sherd/comm/communicator.hpp"
#include "sherd/config/model_config.hpp"
#include "sherd/train/step.hpp"
#include "test_backend.hpp"

namespace sherd::golden {

class GoldenRun {
 public:
  /// The model of a case's directory; `dtype` is that of parameters and activations.
  GoldenRun(const std::filesystem::path& directory, DType dtype, StepOptions options);

  std::vector<float> logits(const HostBatch& batch);
  /// Forward and backward without an update: the mean loss, and then gradients().
  double backward(const HostBatch& batch);
  std::map<std::string, std::vector<float>> gradients();
  TrainStep& step() { return *step_; }

 private:
  void load(const std::filesystem::path& weights);
  DeviceBatch upload(const HostBatch& batch);
  std::vector<float> download(Tensor from);

  ModelConfig config_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> compute_, comm_;
  std::unique_ptr<Communicator> shard_, replicate_, world_;
  Arena persistent_, activations_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<ShardedModel> model_;
  std::unique_ptr<TrainStep> step_;
};

}  // namespace sherd::golden
