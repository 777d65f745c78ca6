// The letters of contact sheets: printable ASCII in 5 x 9 dots, drawn for this project.
#pragma once

#include <cstdint>
#include <string_view>

namespace cli {

inline constexpr int letter_width = 5, letter_height = 9;

/// Nine digits in base 32 for each character from '!' to '~': the rows from the top, of which bit 4
/// is the leftmost dot. The last two rows are below the line.
inline constexpr std::string_view letter_rows =
    "444440400aa0000000aavava0004fke5u400pq48bj000ciccjid00440000000488888400844444800"
    "0k8u8k000044v44000000006240000v0000000000660001248g000ehjlphe004c4444e00eh168gv00"
    "s22c22s004ck4u4400u0s222s00s00s22s00u24888800s22s22s00s22u22s00066006600066006240"
    "248g8420000v0v0000842124800eh1640400ehnlngf00ehhvhhh00uhhuhhu00fgggggf00uhhhhhu00"
    "vgguggv00vgguggg00fggjhhf00hhhvhhh00e44444e0072222ic00hikokih00ggggggv00hrllhhh00"
    "hplljhh00ehhhhhe00uhhuggg00ehhhlid00uhhukih00fgge11u00v44444400hhhhhhe00hhhhaa400"
    "hhhllrh00hha4ahh00hha444400v1248gv00e88888e00gg8421100e22222e004ah0000100000000s0"
    "84000000000e1fhf00ggmphhu0000eggge0011djhhf0000ehvge00688u8880000djhjd1eggmphhh00"
    "40c444e002062222icggikoki00c44444e0000qllll0000mphhh0000ehhhe0000mphpmgg00djhjd11"
    "00mpggg0000fge1u0008u88960000hhhjd0000hhha40000hhlla0000ha4ah0000hhhjd1e00v248v00"
    "688g88600888888800g88598g00004k80000";
static_assert(letter_rows.size() == letter_height * ('~' - '!' + 1));

/// Whether the dot in row y and column x of a character is set. Characters beyond ASCII are boxes.
inline bool has_dot(char32_t character, int y, int x) {
  if (character == ' ') return false;
  if (character < '!' || character > '~')
    return y < 7 && (y == 0 || y == 6 || x == 0 || x == letter_width - 1);
  const char digit = letter_rows[(character - '!') * letter_height + static_cast<unsigned>(y)];
  const int row = digit <= '9' ? digit - '0' : digit - 'a' + 10;
  return (row >> (letter_width - 1 - x) & 1) != 0;
}

}  // namespace cli
