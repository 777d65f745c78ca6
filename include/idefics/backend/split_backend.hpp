// A backend over several devices: each part of a model computes on the device that holds its
// weights, and activations are copied from device to device. The model is unaware of it
// (docs/architecture.md).
//
// An operation with a weight runs on the device of the weight; one without, where the newest of its
// operands was written. Caches of keys and values therefore stay with their layer, and a pass
// changes devices only where the map of the weights does. Where devices produce the same bits, the
// split does not change them.
#pragma once

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <idefics/backend/cpu/cpu_backend.hpp>
#include <idefics/backend/placed_memory.hpp>

namespace idefics { inline namespace v0 {

class SplitBackend final : public Backend {
 public:
  struct Device {
    std::string name;  // "cuda:0"
    std::shared_ptr<Backend> backend;
  };
  /// From prefixes of weight names to device indices: {"layers.1", 0}, {"", 1}. A prefix consists
  /// of whole dot-separated parts; the longest match applies.
  using Map = std::map<std::string, std::size_t, std::less<>>;

  /// Bytes are copied between devices through the host, which is added if no device is named "cpu".
  SplitBackend(std::vector<Device> devices, Map map)
      : devices_(std::move(devices)), map_(std::move(map)) {
    while (host_ < devices_.size() && devices_[host_].name != "cpu") ++host_;
    if (host_ == devices_.size()) devices_.push_back({"cpu", make_cpu_backend()});
    require(devices_.size() <= Holders::most_devices, "too many devices");
    for (const auto& [prefix, device] : map_) require(device < devices_.size(), "no such device");
    for (const Device& device : devices_) name_ += (name_.empty() ? "" : "+") + device.name;
  }

  std::string_view name() const override { return name_; }
  const std::vector<Device>& devices() const { return devices_; }
  /// Bytes copied between devices so far, uploads excluded.
  std::uint64_t moved_bytes() const { return moved_bytes_; }

  Tensor empty(DType dtype, Shape shape) override {
    return memory_->make(dtype, shape, devices_.size(), host_);
  }
  inline Tensor download(const Tensor& tensor) override;
  void write(Tensor to, const Tensor& host) override {
    const On on(*this, home_of(to));
    on->write(on.out(to), host);
  }
  void reserve_keys(std::int64_t keys, std::int64_t head_dim) override {
    for (const Device& device : devices_) device.backend->reserve_keys(keys, head_dim);
  }
  /// Unknown for all devices combined: what fits where was decided when the map was made.
  std::optional<std::uint64_t> memory_left() const override { return std::nullopt; }

 protected:
  Tensor place(const Tensor& host, std::string_view weight) override {
    if (!host) return host;
    const std::size_t device = weight.empty() ? host_ : device_of(weight);
    Tensor tensor = memory_->make(host.dtype(), host.shape(), devices_.size(), device);
    const auto [block, begin, end] = memory_->find(tensor);
    block->copies[device] = devices_[device].backend->upload(host, weight);
    block->holders.written(begin, end, device);
    return tensor;
  }
  void do_linear(Tensor out, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                 Compute compute) override {
    const On on(*this, home_of(weight));
    const Tensor from = on.in(x), added = on.in(bias);
    on->linear(on.out(out), from, on.in(weight), added, compute);
  }
  inline void do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) override;
  void do_linear_add(Tensor sum, const Tensor& x, const LinearWeight& weight, const Tensor& bias,
                     Compute compute, Tensor scratch) override {
    const On on(*this, home_of(weight));
    const Tensor from = on.in(x), added = on.in(bias);
    on->linear_add(on.changed(sum), from, on.in(weight), added, compute, on.out(scratch));
  }
  void do_linear_gated_add(Tensor sum, const Tensor& x, const LinearWeight& weight,
                           const Tensor& alpha, Compute compute, Tensor scratch) override {
    const On on(*this, home_of(weight));
    const Tensor from = on.in(x), gate = on.in(alpha);
    on->linear_gated_add(on.changed(sum), from, on.in(weight), gate, compute, on.out(scratch));
  }
  inline void do_normed_linear_group(std::span<const LinearTask> tasks,
                                     const NormedInput& x) override;
  inline void do_gated_linear_unit(const LinearTask& gate, const LinearTask& up,
                                   const NormedInput& x, Activation act) override;
  void do_matmul(Tensor out, const Tensor& a, const Tensor& b) override {
    const On on(*this, home_of(a, b));
    const Tensor left = on.in(a), right = on.in(b);
    on->matmul(on.out(out), left, right);
  }
  void do_attention(Tensor out, const Tensor& q, const Tensor& k, const Tensor& v,
                    std::span<const AttentionSegment> segments, float scale) override {
    const On on(*this, home_of(q));
    const Tensor queries = on.in(q), keys = on.in(k), values = on.in(v);
    on->attention(on.out(out), queries, keys, values, segments, scale);
  }
  void do_attention_weights(Tensor out, const Tensor& q, const Tensor& k,
                            std::span<const AttentionSegment> segments,
                            std::span<const std::int32_t> queries, float scale) override {
    const On on(*this, home_of(q));
    const Tensor from = on.in(q), keys = on.in(k);
    on->attention_weights(on.out(out), from, keys, segments, queries, scale);
  }
  void do_softmax(Tensor out, const Tensor& x) override {
    const On on(*this, home_of(x));
    const Tensor from = on.in(x);
    on->softmax(on.out(out), from);
  }
  void do_argmax(Tensor out, const Tensor& x) override {
    const On on(*this, home_of(x));
    on->argmax(on.out(out), on.in(x));
  }
  void do_greedy_choice(Tensor out, const Tensor& base, const Tensor& additional,
                        const ForbiddenTokens& forbidden) override {
    const On on(*this, home_of(base));
    const Tensor logits = on.in(base), added = on.in(additional);
    on->greedy_choice(on.out(out), logits, added, forbidden);
  }
  void do_rms_norm(Tensor out, const Tensor& x, const Tensor& weight, float eps) override {
    const On on(*this, home_of(weight));
    const Tensor from = on.in(x);
    on->rms_norm(on.out(out), from, on.in(weight), eps);
  }
  void do_layer_norm(Tensor out, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     float eps) override {
    const On on(*this, home_of(weight));
    const Tensor from = on.in(x);
    on->layer_norm(on.out(out), from, on.in(weight), on.in(bias), eps);
  }
  void do_rope(Tensor x, const Tensor& cos, const Tensor& sin,
               std::span<const std::int32_t> positions) override {
    const On on(*this, home_of(x));
    on->rope(on.changed(x), on.in(cos), on.in(sin), positions);
  }
  void do_rope_and_cache(Tensor q, Tensor k, const Tensor& v, const KeysAndValues& cache,
                         std::span<const std::int32_t> rows, const Tensor& cos, const Tensor& sin,
                         std::span<const std::int32_t> positions) override {
    const On on(*this, home_of(q));
    const Tensor values = on.in(v), cosines = on.in(cos), sines = on.in(sin);
    on->rope_and_cache(on.changed(q), on.changed(k), values,
                       {on.changed(cache.k), on.changed(cache.v)}, rows, cosines, sines, positions);
  }
  void do_embedding(Tensor out, std::span<const std::int32_t> ids, const Tensor& table,
                    const Tensor& additional) override {
    const On on(*this, home_of(table));
    on->embedding(on.out(out), ids, on.in(table), on.in(additional));
  }
  void do_unfold_patches(Tensor out, const Tensor& pixels, std::int64_t patch) override {
    const On on(*this, home_of(pixels));
    on->unfold_patches(on.out(out), on.in(pixels), patch);
  }
  void do_activation(Tensor out, const Tensor& x, Activation act) override {
    const On on(*this, home_of(x));
    const Tensor from = on.in(x);
    on->activation(on.out(out), from, act);
  }
  void do_gated_activation(Tensor out, const Tensor& gate, const Tensor& up,
                           Activation act) override {
    const On on(*this, home_of(gate, up));
    const Tensor gates = on.in(gate), from = on.in(up);
    on->gated_activation(on.out(out), gates, from, act);
  }
  void do_add(Tensor out, const Tensor& x, const Tensor& y) override {
    const On on(*this, home_of(x, y));
    const Tensor from = on.in(x), added = on.in(y);
    on->add(on.out(out), from, added);
  }
  void do_multiply(Tensor out, const Tensor& x, const Tensor& y) override {
    const On on(*this, home_of(x, y));
    const Tensor from = on.in(x), factors = on.in(y);
    on->multiply(on.out(out), from, factors);
  }
  void do_scale(Tensor out, const Tensor& x, float factor) override {
    const On on(*this, home_of(x));
    const Tensor from = on.in(x);
    on->scale(on.out(out), from, factor);
  }
  void do_gated_add(Tensor x, const Tensor& y, const Tensor& alpha) override {
    const On on(*this, home_of(alpha));
    const Tensor added = on.in(y);
    on->gated_add(on.changed(x), added, on.in(alpha));
  }
  void do_scatter_rows(Tensor out, std::span<const std::int32_t> rows, const Tensor& x) override {
    const On on(*this, home_of(x));
    const Tensor from = on.in(x);
    on->scatter_rows(on.changed(out), rows, from);
  }
  void do_gather_rows(Tensor out, const Tensor& x, std::span<const std::int32_t> rows) override {
    const On on(*this, home_of(x));
    const Tensor from = on.in(x);
    on->gather_rows(on.out(out), from, rows);
  }
  void do_transpose(Tensor out, const Tensor& x) override {
    const On on(*this, home_of(x));
    on->transpose(on.out(out), on.in(x), 1, 3);
  }
  inline void do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) override;

 private:
  /// An operation on one device, with its operands there. Inputs must be fetched with in() before
  /// out() is called for an output, which may be the same tensor: out() makes other copies stale.
  class On {
   public:
    On(SplitBackend& all, std::size_t device) : all_(all), device_(device) {
      all.devices_[device].backend->expect_rows(all.expected_rows());
    }
    Backend* operator->() const { return all_.devices_[device_].backend.get(); }

    Tensor in(const Tensor& t) const {
      if (!t) return t;
      const auto place = all_.memory_->find(t);
      all_.fetch(place, device_);
      return all_.copy_of(place, device_, t.dtype(), t.shape());
    }
    LinearWeight in(const LinearWeight& weight) const {
      if (weight.int8)
        return {.int8 = {in(weight.int8.codes), in(weight.int8.absmax), weight.int8.threshold}};
      if (!weight.packed) return {.values = in(weight.values)};
      QuantizedTensor q = weight.packed;
      q.codes = in(q.codes), q.absmax = in(q.absmax);
      q.nested.absmax = in(q.nested.absmax), q.nested.map = in(q.nested.map);
      return {.packed = std::move(q)};
    }
    NormedInput in(const NormedInput& x) const {
      const Tensor from = in(x.x), weight = in(x.weight);
      return {from, weight, x.eps, out(x.scratch)};
    }
    /// A tensor that the operation overwrites entirely.
    Tensor out(const Tensor& t) const {
      const auto place = all_.memory_->find(t);
      place.block->holders.written(place.begin, place.end, device_);
      place.block->home = device_;
      place.block->written = ++all_.clock_;
      return all_.copy_of(place, device_, t.dtype(), t.shape());
    }
    /// A tensor that the operation updates, or overwrites in part.
    Tensor changed(const Tensor& t) const {
      (void)in(t);
      return out(t);
    }

   private:
    SplitBackend& all_;
    std::size_t device_;
  };

  bool on_one_device(std::span<const LinearTask> tasks) const;
  void bring(const On& on, std::span<const LinearTask> tasks);

  std::size_t home_of(const Tensor& t) const { return memory_->find(t).block->home; }
  std::size_t home_of(const LinearWeight& weight) const {
    return home_of(weight.packed ? weight.packed.codes
                   : weight.int8 ? weight.int8.codes
                                 : weight.values);
  }
  /// The device that wrote the newer of the two.
  std::size_t home_of(const Tensor& a, const Tensor& b) const {
    const PlacedBlock &first = *memory_->find(a).block, &second = *memory_->find(b).block;
    return first.written >= second.written ? first.home : second.home;
  }
  std::size_t device_of(std::string_view weight) const;

  void fetch(const PlacedMemory::Place& place, std::size_t device) {
    place.block->holders.need(
        place.begin, place.end, device, [&](std::size_t begin, std::size_t end, std::size_t from) {
          const Shape piece{static_cast<std::int64_t>(end - begin)};
          const PlacedMemory::Place part{place.block, begin, end};
          devices_[device].backend->write(
              copy_of(part, device, DType::u8, piece),
              devices_[from].backend->download(copy_of(part, from, DType::u8, piece)));
          moved_bytes_ += end - begin;
        });
  }
  /// The bytes of `place` in the copy that `device` has; allocates that copy if necessary.
  Tensor copy_of(const PlacedMemory::Place& place, std::size_t device, DType dtype,
                 Shape shape) const {
    Tensor& copy = place.block->copies[device];
    if (!copy)
      copy = devices_[device].backend->empty(DType::u8,
                                             Shape{static_cast<std::int64_t>(place.block->bytes)});
    if (!copy.writable()) return Tensor::view_of(dtype, shape, copy.raw() + place.begin);
    return Tensor::over(dtype, shape, copy.raw_mutable() + place.begin, {});
  }

  std::vector<Device> devices_;
  Map map_;
  std::size_t host_ = 0;
  std::string name_;
  std::shared_ptr<PlacedMemory> memory_ = std::make_shared<PlacedMemory>();
  std::uint64_t clock_ = 0, moved_bytes_ = 0;
  std::vector<LinearWeight> weights_;  // of a linear group, on its device
  std::vector<LinearTask> tasks_;
};

inline bool SplitBackend::on_one_device(std::span<const LinearTask> tasks) const {
  return !tasks.empty() && std::ranges::all_of(tasks, [&](const LinearTask& task) {
    return home_of(*task.weight) == home_of(*tasks[0].weight);
  });
}

/// Sets tasks_ to the same tasks on a device.
inline void SplitBackend::bring(const On& on, std::span<const LinearTask> tasks) {
  weights_.clear(), tasks_.clear();
  weights_.reserve(tasks.size());  // tasks point into it
  for (const LinearTask& task : tasks) {
    weights_.push_back(on.in(*task.weight));
    const Tensor added = on.in(task.bias);
    tasks_.push_back({on.out(task.out), &weights_.back(), added, task.compute});
  }
}

/// One call if all weights are on the same device.
inline void SplitBackend::do_linear_group(std::span<const LinearTask> tasks, const Tensor& x) {
  if (!on_one_device(tasks)) return Backend::do_linear_group(tasks, x);
  const On on(*this, home_of(*tasks[0].weight));
  const Tensor from = on.in(x);
  bring(on, tasks);
  on->linear_group(tasks_, from);
}
inline void SplitBackend::do_normed_linear_group(std::span<const LinearTask> tasks,
                                                 const NormedInput& x) {
  if (!on_one_device(tasks)) return Backend::do_normed_linear_group(tasks, x);
  const On on(*this, home_of(*tasks[0].weight));
  const NormedInput from = on.in(x);
  bring(on, tasks);
  on->normed_linear_group(tasks_, from);
}
inline void SplitBackend::do_gated_linear_unit(const LinearTask& gate, const LinearTask& up,
                                               const NormedInput& x, Activation act) {
  const std::array tasks{gate, up};
  if (!on_one_device(tasks)) return Backend::do_gated_linear_unit(gate, up, x, act);
  const On on(*this, home_of(*gate.weight));
  const NormedInput from = on.in(x);
  bring(on, tasks);
  on->gated_linear_unit(tasks_[0], tasks_[1], from, act);
}

/// On the device that wrote the newest part.
inline void SplitBackend::do_concat(Tensor out, std::span<const Tensor> parts, std::int64_t rows) {
  const auto written = [&](const Tensor& part) { return memory_->find(part).block->written; };
  const On on(*this, home_of(*std::ranges::max_element(parts, {}, written)));
  std::vector<Tensor> there;
  for (const Tensor& part : parts)
    there.push_back(on.in(part).reshape({rows, part.count() / rows}));
  on->concat(on.out(out).reshape({rows, out.count() / rows}), there, 1);
}

inline Tensor SplitBackend::download(const Tensor& tensor) {
  if (!tensor) return tensor;
  const auto place = memory_->find(tensor);
  fetch(place, host_);
  Tensor copy = copy_of(place, host_, tensor.dtype(), tensor.shape());
  if (!copy.writable())
    return Tensor::view_of(tensor.dtype(), tensor.shape(), copy.raw(),
                           place.block->shared_from_this());
  return Tensor::over(tensor.dtype(), tensor.shape(), copy.raw_mutable(),
                      place.block->shared_from_this());
}

inline std::size_t SplitBackend::device_of(std::string_view weight) const {
  for (std::string_view prefix = weight;;) {
    if (const auto found = map_.find(prefix); found != map_.end()) return found->second;
    if (prefix.empty())
      fail(ErrorCode::invalid_option, "no device is given for " + std::string(weight),
           {.tensor = std::string(weight), .field = "device_map"});
    const std::size_t dot = prefix.rfind('.');
    prefix = prefix.substr(0, dot == std::string_view::npos ? 0 : dot);
  }
}

}}  // namespace idefics::v0
