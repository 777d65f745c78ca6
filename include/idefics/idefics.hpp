// Everything a program needs: #include <idefics/idefics.hpp>, link idefics::idefics.
//
//   auto processor = idefics::Processor::from_pretrained("HuggingFaceM4/idefics-9b");
//   auto model = idefics::Model::from_pretrained("HuggingFaceM4/idefics-9b");
//   auto inputs = processor({idefics::Image::open("eiffel.jpg"), "This is an image of "});
//   auto output = model.generate(inputs, {.max_new_tokens = 10});
//   std::cout << processor.batch_decode(output.sequences, {.skip_special_tokens = true})[0];
#pragma once

#include <idefics/attention_rollout.hpp>
#include <idefics/chat.hpp>
#include <idefics/checkpoint_keys.hpp>
#include <idefics/classify.hpp>
#include <idefics/io/safetensors.hpp>
#include <idefics/model.hpp>
#include <idefics/plan/memory_plan.hpp>
#include <idefics/processor.hpp>
#include <idefics/prompt_file.hpp>
#include <idefics/quantize.hpp>
#include <idefics/text/tokenizer.hpp>
