// Fetching: what is fetched, what is refused before a byte is sent, and where it stops.
#include <idefics/io/address.hpp>
#include <idefics/io/url.hpp>

#include "support/catch.hpp"
#include "support/http_server.hpp"

using namespace idefics;
using testing::answer;
using testing::HttpServer;
using testing::Reply;

namespace {

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The code of the error, or the text that was fetched.
std::string outcome(const std::string& url, const FetchOptions& options,
                    ErrorContext* where = nullptr) {
  try {
    return text_of(fetch_url(url, options));
  } catch (const Error& error) {
    if (where != nullptr) *where = error.context();
    return std::string(error.code_name());
  }
}

/// Options for the test's own server; no proxy of this machine may come between them.
FetchOptions local() {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                           "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"})
    ::unsetenv(name);
  return {.timeout = std::chrono::milliseconds(5000), .allow_private = true};
}

Reply site(const std::string& target, const std::string& head) {
  const std::string body(1000, 'x');
  if (target == "/picture") return answer("200 OK", "pixels");
  if (target == "/empty") return answer("200 OK", "");
  if (target == "/agent") return answer("200 OK", head.substr(head.find("User-Agent: ") + 12, 7));
  if (target == "/away") return answer("302 Found", "", "Location: /hop\r\n");
  if (target == "/hop") return answer("301 Moved Permanently", "moved", "Location: /picture\r\n");
  if (target == "/loop") return answer("302 Found", "", "Location: /loop\r\n");
  if (target == "/nowhere") return answer("302 Found", "");
  if (target == "/to-file") return answer("302 Found", "", "Location: file:///etc/passwd\r\n");
  if (target == "/to-metadata")
    return answer("302 Found", "", "Location: http://169.254.169.254/latest/\r\n");
  if (target == "/large") return answer("200 OK", body);
  if (target == "/unmeasured") return {.parts = {"HTTP/1.0 200 OK\r\n\r\n" + body}};
  if (target == "/slow")
    return {.parts = {"HTTP/1.0 200 OK\r\n\r\n", "a", "b", "c", "d", "e", "f"},
            .pause = std::chrono::milliseconds(100)};
  if (target == "/cut") return {.parts = {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"}};
  if (target == "/busy") return answer("429 Too Many Requests", "later");
  if (target == "/noise") return {.parts = {"this is not HTTP\r\n\r\n"}};
  return answer("404 Not Found", "none");
}

}  // namespace

TEST_CASE("a file is fetched, through redirects, with our user agent") {
  const HttpServer server(site);
  CHECK(outcome(server.root() + "/picture", local()) == "pixels");
  CHECK(outcome(server.root() + "/empty", local()) == "");
  CHECK(outcome(server.root() + "/away", local()) == "pixels");
  CHECK(outcome(server.root() + "/agent", local()) == "idefics");
  auto options = local();
  options.user_agent = "someone";
  CHECK(outcome(server.root() + "/agent", options) == "someone");
  CHECK(outcome("http://user:secret@" + server.root().substr(7) + "/picture", local()) == "pixels");
}

TEST_CASE("redirects end at loops, chains above the limit, and answers without a target") {
  const HttpServer server(site);
  auto options = local();
  ErrorContext where;
  CHECK(outcome(server.root() + "/loop", options, &where) == "fetch_failed");
  CHECK(where.limit == 8u);
  CHECK(server.requests() == 9);
  options.max_redirects = 1;
  CHECK(outcome(server.root() + "/away", options) == "fetch_failed");
  CHECK(outcome(server.root() + "/nowhere", local(), &where) == "fetch_failed");
  CHECK(where.actual == 302u);
  CHECK(outcome(server.root() + "/to-file", local()) == "url_refused");
}

TEST_CASE("private addresses are refused before a byte is sent, however they are written") {
  const HttpServer server(site);
  auto options = local();
  options.allow_private = false;
  const std::string port = ":" + std::to_string(server.port()) + "/picture";
  for (const char* host : {"127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::1]",
                           "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "192.168.1.1"}) {
    INFO(host);
    CHECK(outcome(std::string("http://") + host + port, options) == "url_refused");
  }
  CHECK(server.requests() == 0);
}

TEST_CASE("a redirect is checked like the URL that it came from") {
  const HttpServer server(site);
  auto options = local();  // the first hop goes through a proxy, which may be private
  options.allow_private = false;
  options.proxy = server.root();
  const HttpServer target(site);
  CHECK(outcome("http://198.41.0.4/x/../picture", options) == "fetch_failed");  // the proxy's 404
  CHECK(server.requests() == 1);
  CHECK(outcome(target.root() + "/picture", options) == "url_refused");
  CHECK(outcome("http://169.254.169.254/latest", options) == "url_refused");
  CHECK(server.requests() == 1);

  const HttpServer bouncing([](const std::string&, const std::string&) {
    return answer("302 Found", "", "Location: http://169.254.169.254/latest/\r\n");
  });
  options.proxy = bouncing.root();
  CHECK(outcome("http://198.41.0.4/", options) == "url_refused");
  CHECK(bouncing.requests() == 1);
}

TEST_CASE("addresses are classified as public or private") {
  auto judge = [](const std::string& host) {
    addrinfo hints{}, *list = nullptr;
    hints.ai_flags = AI_NUMERICHOST;
    hints.ai_socktype = SOCK_STREAM;
    REQUIRE(::getaddrinfo(host.c_str(), "80", &hints, &list) == 0);
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
    return detail::is_public(*list->ai_addr, list->ai_addrlen);
  };
  for (const char* host :
       {"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "223.255.255.255",
        "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::"}) {
    INFO(host);
    CHECK(judge(host));
  }
  for (const char* host : {"0.0.0.0",
                           "10.255.255.255",
                           "100.64.0.0",
                           "100.127.255.255",
                           "127.0.0.1",
                           "127.255.255.255",
                           "169.254.169.254",
                           "172.16.0.0",
                           "172.31.255.255",
                           "192.0.0.1",
                           "192.0.2.1",
                           "192.88.99.1",
                           "192.168.0.1",
                           "198.18.0.1",
                           "198.19.255.255",
                           "198.51.100.1",
                           "203.0.113.1",
                           "224.0.0.1",
                           "239.255.255.255",
                           "240.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "::127.0.0.1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "64:ff9b::10.0.0.1",
                           "2002:7f00:1::",
                           "2001::1",
                           "2001:db8::1",
                           "100::1",
                           "fc00::1",
                           "fd00::1",
                           "fe80::1",
                           "fec0::1",
                           "ff02::1"}) {
    INFO(host);
    CHECK_FALSE(judge(host));
  }
}

TEST_CASE("the size is limited with and without a length, and so is the time") {
  const HttpServer server(site);
  auto options = local();
  options.max_bytes = 999;
  ErrorContext where;
  for (const char* path : {"/large", "/unmeasured"}) {
    INFO(path);
    CHECK(outcome(server.root() + path, options, &where) == "fetch_failed");
    CHECK(where.limit == 999u);
  }
  options.max_bytes = 1000;
  CHECK(outcome(server.root() + "/large", options).size() == 1000);
  CHECK(outcome(server.root() + "/unmeasured", options).size() == 1000);

  options.timeout = std::chrono::milliseconds(250);
  CHECK(outcome(server.root() + "/slow", options, &where) == "fetch_failed");
  CHECK(where.limit == 250u);
}

TEST_CASE("error statuses, truncated bodies, noise and absent servers are errors") {
  const HttpServer server(site);
  ErrorContext where;
  CHECK(outcome(server.root() + "/none", local(), &where) == "fetch_failed");
  CHECK(where.actual == 404u);
  CHECK(outcome(server.root() + "/busy", local(), &where) == "fetch_failed");
  CHECK(where.actual == 429u);
  CHECK(outcome(server.root() + "/cut", local(), &where) == "fetch_failed");
  CHECK(where.actual == 4u);
  CHECK(outcome(server.root() + "/noise", local()) == "fetch_failed");
  CHECK(outcome("http://127.0.0.1:1/", local()) == "fetch_failed");
  outcome("http://user:secret@127.0.0.1:1/", local(), &where);
  CHECK(where.file == "http://127.0.0.1:1/");
}

TEST_CASE("only http, https and data: are fetched, and nothing when offline") {
  for (const char* url : {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x",
                          "dict://127.0.0.1/x", "scp://127.0.0.1/x", "http://", "not a url",
                          "http://exa mple.com/", "http://127.0.0.1\r\nX: y/"}) {
    INFO(url);
    CHECK(outcome(url, local()) == "url_refused");
  }
  const HttpServer server(site);
  auto options = local();
  options.offline = true;
  CHECK(outcome(server.root() + "/picture", options) == "url_refused");
  for (const char* name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    const auto online = local();
    ::setenv(name, "yes", 1);
    CHECK(outcome(server.root() + "/picture", online) == "url_refused");
    ::setenv(name, "0", 1);
    CHECK(outcome(server.root() + "/picture", online) == "pixels");
  }
}

TEST_CASE("a progress callback can stop a fetch") {
  const HttpServer server(site);
  auto options = local();
  options.on_progress = [](std::uint64_t, std::uint64_t) { return false; };
  CHECK(outcome(server.root() + "/picture", options) == "cancelled");
}

TEST_CASE("data: URLs are decoded, in base64 and percent form") {
  const FetchOptions options{.max_bytes = 8, .offline = true};
  CHECK(outcome("data:image/png;base64,cGl4ZWxz", options) == "pixels");
  CHECK(outcome("data:;base64,cA==", options) == "p");
  CHECK(outcome("data:;base64,cA", options) == "p");
  CHECK(outcome("data:;base64,cA%3D%3D", options) == "p");
  CHECK(outcome("data:;base64,-_-_", options) == "\xfb\xff\xbf");
  CHECK(outcome("DATA:IMAGE/PNG;BASE64,cGl4ZWxz", options) == "pixels");
  CHECK(outcome("Data:image/png;charset=utf-8; base64 ,cGl4ZWxz", options) == "pixels");
  CHECK(outcome("data:;base64,cGl4\nZWxz\n", options) == "pixels");
  CHECK(outcome("data:;base64,\r\n\tcGl4 ZWx\r\nz", options) == "pixels");
  CHECK(outcome("data:;base64,cA=\n=\n", options) == "p");
  CHECK(outcome("data:;base64,cGl4%0D%0AZWxz%0A", options) == "pixels");
  CHECK(outcome("data:;base64,cGl4ZWxzcGl4", {.max_bytes = 9}) == "pixelspix");
  CHECK(outcome("data:base64,cA", options) == "cA");
  CHECK(outcome("data:,", options) == "");
  CHECK(outcome("data:text/plain,a%20b%00", options) == std::string("a b\0", 4));
  for (const char* url :
       {"data:", "data:image/png;base64", "data:;base64,c",
        "data:;base64,cA=", "data:;base64,c===", "data:;base64,c!==", "data:;base64,cGl4=Wxz",
        "data:;base64,cGl4ZWxz\v", "data:;base64,=\n=", "data:;base64,====", "data:,%", "data:,%2",
        "data:,%zz", "data:,123456789", "data:;base64,cGl4ZWxzcGl4ZWxz"}) {
    INFO(url);
    CHECK(outcome(url, options) == "fetch_failed");
  }
}
