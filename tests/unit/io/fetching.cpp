// What libcurl is allowed to do: names that resolve to private addresses or not at all, proxies,
// deadlines, callbacks that throw, and messages without secrets. Names are resolved by this program:
// libcurl calls its getaddrinfo instead of the system's.
#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>

#include <array>
#include <atomic>
#include <map>

#include <idefics/io/proxy.hpp>
#include <idefics/io/url.hpp>

#include "support/catch.hpp"
#include "support/fetched.hpp"
#include "support/http_server.hpp"

using namespace idefics;
using testing::alone;
using testing::answer;
using testing::HttpServer;
using testing::local;
using testing::outcome;
using testing::Reply;
using testing::text_of;

namespace {

/// Numeric addresses by name; those of "slow.test" take a while.
const std::map<std::string, std::string> names{{"here.test", "127.0.0.1"},
                                               {"inside.test", "10.1.2.3"},
                                               {"public.test", "198.41.0.4"},
                                               {"public6.test", "2001:500:2f::f"},
                                               {"metadata.test", "169.254.169.254"}};
std::atomic<int> lookups{0};

}  // namespace

extern "C" int getaddrinfo(const char* host, const char* port, const addrinfo* hints,
                           addrinfo** result) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  std::string name = host == nullptr ? "" : host;
  std::ranges::transform(name, name.begin(), detail::lower_case);
  if (name.ends_with('.')) name.pop_back();
  if (!name.ends_with(".test")) return real(host, port, hints, result);
  ++lookups;
  if (name == "slow.test") std::this_thread::sleep_for(std::chrono::seconds(3));
  const auto known = names.find(name);
  return known == names.end() ? EAI_NONAME : real(known->second.c_str(), port, hints, result);
}

namespace {

std::size_t open_files() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

}  // namespace

TEST_CASE("names that resolve to private addresses are refused, and named") {
  const HttpServer server([](auto&, auto&) { return answer("200 OK", "reached"); });
  const std::string port = ":" + std::to_string(server.port()) + "/";
  std::string message;
  for (const char* host : {"here.test", "inside.test", "metadata.test", "user:secret@here.test",
                           "here.test.", "HERE.test"}) {
    INFO(host);
    CHECK(outcome("http://" + std::string(host) + port, alone(), &message) == "url_refused");
  }
  CHECK(outcome("http://inside.test" + port, alone(), &message) == "url_refused");
  CHECK(message.find("10.1.2.3") != std::string::npos);
  CHECK(message.find("--allow-private-urls") != std::string::npos);
  CHECK(outcome("http://here.test" + port, local()) == "reached");
  CHECK(server.requests() == 1);
}

TEST_CASE("hosts that are not in ASCII are refused, since libcurl would map them after the check") {
  const HttpServer server([](auto&, auto&) { return answer("200 OK", "reached"); });
  const std::string port = ":" + std::to_string(server.port()) + "/";
  for (const char* locale : {"C", "C.UTF-8"}) {
    ::setlocale(LC_ALL, locale);
    for (const char* host :
         {"\u2460\u2461\u2466.0.0.1", "\uff11\uff12\uff17.0.0.1", "local\u24d7ost",
          "127\u30020\u30020\u30021", "\u00fc.test", "127.0.0.1%c2%a0", "\xff"}) {
      INFO(host);
      for (const bool through_proxy : {false, true}) {
        FetchOptions options = alone();
        if (through_proxy) options.proxy = server.root();
        CHECK(outcome("http://" + std::string(host) + port, options) == "url_refused");
      }
    }
  }
  ::setlocale(LC_ALL, "C");
  CHECK(server.requests() == 0);
}

TEST_CASE("a proxy is asked for the address that was checked, and for nothing else") {
  std::string asked, then;
  const HttpServer proxy([&](const std::string& target, const std::string& head) -> Reply {
    asked = head.substr(0, head.find(' ')) + " " + target;
    if (head.starts_with("CONNECT"))
      return {.parts = {"HTTP/1.1 200 Connected\r\n\r\n",
                        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npixels"},
              .reads = true};
    return answer("200 OK", "direct");
  });
  FetchOptions options = alone();
  options.proxy = proxy.root();
  CHECK(outcome("http://public.test/a", options) == "pixels");
  CHECK(asked == "CONNECT 198.41.0.4:80");
  CHECK(outcome("http://public.test:8080/a", options) == "pixels");
  CHECK(asked == "CONNECT 198.41.0.4:8080");
  CHECK(outcome("http://public6.test/a", options) == "pixels");
  CHECK(asked == "CONNECT [2001:500:2f::f]:80");
  CHECK(outcome("http://198.41.0.4/a", options) == "direct");
  CHECK(asked == "GET http://198.41.0.4/a");
  (void)outcome("https://public.test/a", options);
  CHECK(asked == "CONNECT 198.41.0.4:443");
  const int requests = proxy.requests();
  std::string message;
  for (const char* url :
       {"http://metadata.test/a", "http://inside.test/a", "https://here.test/a",
        "http://unknown.test/a", "https://unknown.test/a", "http://metadata.google.internal.test./",
        "http://169.254.169.254/a", "http://0xa9fea9fe/a", "http://0251.0376.0251.0376/a",
        "http://169.16689662/a", "http://[::ffff:169.254.169.254]/a", "http://[::1]/a",
        "http://2852039166/", "http://public.test@127.0.0.1/", "http://0/", "http://127.1/",
        "http://[::ffff:a9fe:a9fe]/", "http://[64:ff9b::169.254.169.254]/", "http://localhost/"}) {
    INFO(url);
    CHECK(outcome(url, options, &message) == "url_refused");
    CHECK(message.find("--allow-private-urls") != std::string::npos);
  }
  CHECK(proxy.requests() == requests);

  options.allow_private = true;  // names are the proxy's to resolve
  CHECK(outcome("http://unknown.test/a", options) == "direct");
  CHECK(asked == "GET http://unknown.test/a");
}

TEST_CASE("the proxy of the environment is followed as libcurl does, and no_proxy") {
  std::string asked;
  const HttpServer proxy([&](const std::string& target, const std::string&) {
    asked = target;
    return answer("403 Forbidden", "no");
  });
  FetchOptions options = alone();
  ::setenv("http_proxy", proxy.root().c_str(), 1);
  std::string message;
  CHECK(outcome("http://public.test/a", options, &message) == "fetch_failed");
  CHECK(asked == "198.41.0.4:80");
  INFO(message);
  CHECK(message.find("refused to connect") != std::string::npos);
  CHECK(message.find("403") != std::string::npos);
  ::setenv("no_proxy", "public.test,here.test", 1);
  CHECK(outcome("http://here.test/a", options) == "url_refused");
  options.allow_private = true;
  CHECK(outcome("http://here.test:1/a", options) == "fetch_failed");
  CHECK(proxy.requests() == 1);

  using Variables = std::map<std::string, std::string>;
  const auto chosen = [](const std::string& scheme, const std::string& host, Variables set,
                         const std::string& own = "") {
    return detail::proxy_for(scheme, host, own, [&](const char* name) {
      const auto found = set.find(name);
      return found == set.end() ? std::nullopt : std::optional(found->second);
    });
  };
  CHECK(chosen("http", "a", {}) == "");
  CHECK(chosen("http", "a", {{"http_proxy", "p"}, {"all_proxy", "q"}}) == "p");
  CHECK(chosen("http", "a", {{"HTTP_PROXY", "p"}}) == "");  // a request header in CGI programs
  CHECK(chosen("http", "a", {{"http_proxy", ""}, {"all_proxy", "q"}}) == "");
  CHECK(chosen("https", "a", {{"HTTPS_PROXY", "p"}, {"all_proxy", "q"}}) == "p");
  CHECK(chosen("https", "a", {{"https_proxy", "p"}, {"HTTPS_PROXY", "q"}}) == "p");
  CHECK(chosen("https", "a", {{"http_proxy", "p"}, {"ALL_PROXY", "q"}}) == "q");
  CHECK(chosen("http", "a", {{"http_proxy", "p"}}, "own") == "own");
  const auto excluded = [&](const char* list, const char* host) {
    const bool lower = chosen("http", host, {{"http_proxy", "p"}, {"no_proxy", list}}).empty();
    CHECK(lower == chosen("http", host, {{"http_proxy", "p"}, {"NO_PROXY", list}}).empty());
    return lower;
  };
  for (const auto& [list, host] :
       std::initializer_list<std::pair<const char*, const char*>>{{"*", "a.b"},
                                                                  {"a.b", "a.b"},
                                                                  {".a.b", "a.b"},
                                                                  {"a.b", "x.a.b"},
                                                                  {"A.B", "x.a.b."},
                                                                  {"x, a.b", "a.b"},
                                                                  {"x\ta.b.", "a.b"},
                                                                  {"127.0.0.1", "127.0.0.1"},
                                                                  {"10.0.0.0/8", "10.9.8.7"},
                                                                  {"::1", "::1"},
                                                                  {"[::1]", "::1"},
                                                                  {"fe80::/10", "febf::1"},
                                                                  {"10.1.2.0/23", "10.1.3.255"},
                                                                  {"0.0.0.0/0", "1.2.3.4"}}) {
    INFO(list << " " << host);
    CHECK(excluded(list, host));
  }
  for (const auto& [list, host] :
       std::initializer_list<std::pair<const char*, const char*>>{{"", "a"},
                                                                  {"b", "ab"},
                                                                  {"a.b", "a.b.c"},
                                                                  {"xa.b", "a.b"},
                                                                  {"10.0.0.0/8", "11.0.0.0"},
                                                                  {"10.0.0.0/33", "10.0.0.0"},
                                                                  {"10.0.0.0/", "10.0.0.0"},
                                                                  {"10.0.0.0/x", "10.0.0.0"},
                                                                  {"0.0.1", "127.0.0.1"},
                                                                  {"::/0", "1.2.3.4"},
                                                                  {"10.1.2.0/23", "10.1.4.0"},
                                                                  {".", "a"}}) {
    INFO(list << " " << host);
    CHECK_FALSE(excluded(list, host));
  }
}

TEST_CASE("a redirect through a proxy is checked again") {
  const HttpServer proxy([&](const std::string&, const std::string& head) -> Reply {
    if (head.starts_with("CONNECT"))
      return {.parts = {"HTTP/1.1 200 Connected\r\n\r\n",
                        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
                        "http://metadata.test/latest\r\n\r\n"},
              .reads = true};
    return answer("200 OK", "secret");
  });
  FetchOptions options = alone();
  options.proxy = proxy.root();
  CHECK(outcome("http://public.test/a", options) == "url_refused");
  CHECK(proxy.requests() == 1);
}

TEST_CASE("the deadline covers names, proxies and redirects, and progress can stop each") {
  const auto seconds_of = [](const auto& act) {
    const auto begin = std::chrono::steady_clock::now();
    act();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const HttpServer silent([](auto&, auto&) -> Reply {
    return {.parts = {"", "late"}, .pause = std::chrono::milliseconds(600)};
  });
  const HttpServer slow_hops([](auto&, auto&) -> Reply {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    return answer("302 Found", "", "Location: /again\r\n");
  });
  std::string message;
  const auto times_out = [&](const std::string& url, FetchOptions options) {
    INFO(url);
    options.timeout = std::chrono::milliseconds(200);
    const double spent =
        seconds_of([&] { CHECK(outcome(url, options, &message) == "fetch_failed"); });
    CHECK(spent < 0.5);
    CHECK(message.find("timed out") != std::string::npos);
    CHECK(message.find("[limit: 200]") != std::string::npos);
  };
  times_out("http://slow.test/", alone());
  times_out(silent.root(), local());
  times_out(slow_hops.root(), local());
  FetchOptions through = alone();
  through.proxy = silent.root();
  times_out("http://slow.test/", through);    // while the host is resolved here
  times_out("http://public.test/", through);  // while the proxy does not answer
  through.proxy = "http://slow.test:3128";
  times_out("http://public.test/", through);  // while the proxy is resolved

  int calls = 0;
  FetchOptions stopping = alone();
  stopping.on_progress = [&](auto, auto) { return ++calls < 3; };
  CHECK(seconds_of([&] { CHECK(outcome("http://slow.test/", stopping) == "cancelled"); }) < 2);
  stopping.proxy = silent.root();
  calls = 0;
  CHECK(seconds_of([&] { CHECK(outcome("http://slow.test/", stopping) == "cancelled"); }) < 2);
  FetchOptions at_once = local();
  at_once.timeout = std::chrono::milliseconds(-1);
  CHECK(outcome(silent.root(), at_once) == "fetch_failed");
}

TEST_CASE("exceptions of a callback pass the caller, not libcurl, and leave nothing open") {
  struct Own {};
  const HttpServer server([](auto&, auto&) { return answer("200 OK", std::string(100'000, 'x')); });
  FetchOptions options = local();
  options.on_progress = [](auto, auto) -> bool { throw Own{}; };
  CHECK_THROWS_AS(fetch_url(server.root(), options), Own);
  const std::size_t before = open_files();
  for (int i = 0; i < 30; ++i) {
    int calls = 0;
    options.on_progress = [&](auto, auto) -> bool {
      if (++calls > i % 5) throw Own{};
      return true;
    };
    CHECK_THROWS_AS(fetch_url(server.root(), options), Own);
  }
  CHECK(open_files() <= before + 2);
}

TEST_CASE("messages contain no secrets of a URL") {
  using Pair = std::pair<const char*, const char*>;
  for (const auto& [url, shown] :
       {Pair{"http://user:secret@host.test/a.png?token=secret#secret", "http://host.test/a.png"},
        {"https://secret@host.test", "https://host.test"},
        {"https://host.test:8080/@x/a.png", "https://"},
        {"https://host.test/@x/a.png", "https://host.test/@x/a.png"},
        {"http://user:sec/ret@host.test/", "http://"},
        {"http://user:12/secret@host.test/", "http://"},
        {"http://a:secret@b:secret@host.test/", "http://host.test/"},
        {"http://user:secret@[::1]:80/a", "http://[::1]:80/a"},
        {"http://host.test?secret", "http://host.test"},
        {"data:image/png;base64,secret", "data:"},
        {"DATA:secret", "data:"},
        {"secret", "a URL"}}) {
    INFO(url);
    CHECK(url_without_secrets(url) == shown);
  }
  CHECK(url_without_secrets("http://host/" + std::string(1000, 'x')).size() == 200);
  const HttpServer server([](const std::string& target, const std::string&) {
    return target.starts_with("/hop")
               ? answer("302 Found", "", "Location: http://user:secret@127.0.0.1:1/?secret\r\n")
               : answer("404 Not Found", "");
  });
  const std::string root = "http://user:secret@" + server.root().substr(7);
  FetchOptions offline = local(), proxied = alone();
  offline.offline = true;
  proxied.proxy = "http://user:secret@127.0.0.1:1";
  std::string message;
  for (const auto& [url, options] : std::initializer_list<std::pair<std::string, FetchOptions>>{
           {root + "/?token=secret", local()},
           {root + "/hop?token=secret", local()},
           {root + "/?token=secret", offline},
           {root + "/?token=secret", alone()},
           {"http://user:secret@public.test/?secret", proxied},
           {"http://user:secret@unknown.test/?secret", proxied},
           {"http://user:secret@unknown.test/?secret", alone()},
           {"ftp://user:secret@here.test/?secret", alone()},
           {"http://user:secret@\xff/?secret", alone()},
           {"http://user:secret@:x/?secret", alone()},
           {"http://user:sec ret@/?secret", alone()},
           {"data:image/png;base64,secret?", alone()}}) {
    INFO(url);
    const std::string code = outcome(url, options, &message);
    CHECK((code == "fetch_failed" || code == "url_refused"));
    INFO(message);
    CHECK(message.find("secret") == std::string::npos);
    CHECK(message.find("sec ret") == std::string::npos);
  }
}

TEST_CASE("a server limits what all pictures of a request fetch together") {
  const HttpServer server([](auto&, auto&) { return answer("200 OK", "pixels"); });
  const auto code = [&](const Fetcher& fetch, const std::string& url, std::uint64_t* limit) {
    try {
      return text_of(fetch(url));
    } catch (const Error& error) {
      *limit = error.context().limit.value_or(0);
      return std::string(error.code_name());
    }
  };
  std::uint64_t limit = 0;
  const Fetcher two(local(), {.files = 2});
  const Fetcher copy = two;
  CHECK(code(two, server.root(), &limit) == "pixels");
  CHECK(code(copy, "data:,x", &limit) == "x");
  CHECK(code(two, server.root(), &limit) == "fetch_failed");
  CHECK(limit == 2);
  const Fetcher ten_bytes(local(), {.bytes = 10});
  CHECK(code(ten_bytes, server.root(), &limit) == "pixels");
  CHECK(code(ten_bytes, server.root(), &limit) == "fetch_failed");
  CHECK(limit == 4);
  CHECK(code(ten_bytes, "data:,abcd", &limit) == "abcd");
  CHECK(code(ten_bytes, "data:,a", &limit) == "fetch_failed");
  CHECK(limit == 10);
  const HttpServer slow([](auto&, auto&) -> Reply {
    return {.parts = {"HTTP/1.0 200 OK\r\n\r\n", "a"}, .pause = std::chrono::milliseconds(150)};
  });
  const Fetcher brief(local(), {.time = std::chrono::milliseconds(200)});
  CHECK(code(brief, slow.root(), &limit) == "a");
  CHECK(code(brief, slow.root(), &limit) == "fetch_failed");
  CHECK(code(Fetcher(local()), server.root(), &limit) == "pixels");
}
