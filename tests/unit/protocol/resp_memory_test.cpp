// What a resp_parser holds of the heap, counted by this program's own operator new.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "protocol/resp.hpp"

namespace {

std::atomic<std::size_t> held{0};
std::atomic<std::size_t> most_held{0};

void* take(std::size_t size) noexcept {
    void* const block = std::malloc(size == 0 ? 1 : size);
    if (block == nullptr) return nullptr;
    const auto now = held += malloc_usable_size(block);
    if (now > most_held) most_held = now;
    return block;
}

void* take_or_throw(std::size_t size) {
    void* const block = take(size);
    if (block == nullptr) throw std::bad_alloc{};
    return block;
}

void give(void* block) noexcept {
    if (block != nullptr) held -= malloc_usable_size(block);
    std::free(block);
}

}  // namespace

void* operator new(std::size_t size) {
    return take_or_throw(size);
}
void* operator new[](std::size_t size) {
    return take_or_throw(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return take(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return take(size);
}
void operator delete(void* block) noexcept {
    give(block);
}
void operator delete[](void* block) noexcept {
    give(block);
}
void operator delete(void* block, std::size_t) noexcept {
    give(block);
}
void operator delete[](void* block, std::size_t) noexcept {
    give(block);
}

namespace sluice::protocol {
namespace {

using outcome = resp_parser::outcome;

// What is held beyond now, while and after it lives.
class heap_watch {
  public:
    heap_watch() : before_(held) { most_held = before_; }
    [[nodiscard]] std::size_t now() const { return held - before_; }
    [[nodiscard]] std::size_t most() const { return most_held - before_; }

  private:
    std::size_t before_;
};

std::string bulks(std::size_t count) {
    std::string out;
    while (count-- != 0)
        out += "$1\r\na\r\n";
    return out;
}

TEST(resp_parser_memory, giant_command_is_given_back_at_the_next_call) {
    const auto giant = "*100000\r\n" + bulks(100'000);
    const auto line = "\"" + std::string(60'000, 'a') + "\"\n";
    resp_parser parser;
    const heap_watch watch;
    ASSERT_EQ(parser.next(as_bytes(giant), {}), outcome::command);
    EXPECT_GE(watch.now(), 100'000 * sizeof(std::string_view));
    EXPECT_LT(watch.most(), 3 * giant.size());
    ASSERT_EQ(parser.next({}, {}), outcome::incomplete);
    EXPECT_LT(watch.now(), 64U);

    ASSERT_EQ(parser.next(as_bytes(line), {}), outcome::command);
    EXPECT_GE(watch.now(), 60'000U);
    ASSERT_EQ(parser.next({}, {}), outcome::incomplete);
    EXPECT_LT(watch.now(), 64U);
}

TEST(resp_parser_memory, small_commands_reuse_what_is_held) {
    const auto input = "*3\r\n" + bulks(3);
    resp_parser parser;
    ASSERT_EQ(parser.next(as_bytes(input), {}), outcome::command);
    const heap_watch watch;
    for (int i = 0; i < 10; ++i) {
        ASSERT_EQ(parser.next(as_bytes(input).first(9), {}), outcome::incomplete);
        ASSERT_EQ(parser.next(as_bytes(input), {}), outcome::command);
    }
    EXPECT_EQ(watch.most(), 0U);
}

TEST(resp_parser_memory, declared_sizes_take_nothing) {
    const auto bytes = std::string(1'000'000, 'a');
    for (const auto& input : {"*2147483647\r\n" + bulks(100) + "$536870912\r\n",
                              "*166671\r\n$1000000\r\n" + bytes, "*1\r\n$536870912\r\n" + bytes}) {
        resp_parser parser;
        const heap_watch watch;
        ASSERT_EQ(parser.next(as_bytes(input), {}), outcome::incomplete);
        EXPECT_LT(watch.most(), 64U);
    }
}

TEST(resp_parser_memory, wrong_count_takes_no_more_than_the_bytes_allow) {
    const auto input = "*100000\r\n$1000000\r\n" + std::string(1'000'000, 'a');
    resp_parser parser;
    const heap_watch watch;
    ASSERT_EQ(parser.next(as_bytes(input), {}), outcome::incomplete);
    EXPECT_LT(watch.most(), 3 * input.size());
    ASSERT_EQ(parser.next(as_bytes(input), {}), outcome::incomplete);
    EXPECT_LT(watch.now(), 64U);
}

TEST(resp_parser_memory, before_login_little_is_held) {
    const resp_limits limits{.authenticated = false};
    std::string words;
    while (words.size() < 65'000)
        words += "a ";
    for (const auto& input :
         {"*10\r\n" + bulks(10), words + "\n", "*100000\r\n" + bulks(100'000)}) {
        resp_parser parser;
        const heap_watch watch;
        const auto result = parser.next(as_bytes(input), limits);
        EXPECT_NE(result, outcome::incomplete);
        EXPECT_LT(watch.most(), 2048U);
    }
    // Quoted words are copied, and given back before the next command.
    const auto quoted = "AUTH \"" + std::string(8000, 'a') + "\"\n";
    resp_parser parser;
    const heap_watch watch;
    EXPECT_EQ(parser.next(as_bytes(quoted), limits), outcome::command);
    EXPECT_LT(watch.most(), 10'000U);
    EXPECT_EQ(parser.next({}, limits), outcome::incomplete);
    EXPECT_LT(watch.now(), 1024U);
}

}  // namespace
}  // namespace sluice::protocol
