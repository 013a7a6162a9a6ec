"""Posts in many scripts with the names that they contain, and texts of mixed scripts for property tests."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from gmner.data.post import Post
from gmner.signatures.mentions import GoldEntity


@dataclass(frozen=True)
class Sample:
    """A post with its names in text order, each `(span, type)`; equal spans are successive occurrences."""

    id: str
    text: str
    names: tuple[tuple[str, str], ...]

    @property
    def entities(self) -> tuple[GoldEntity, ...]:
        """The names with their offsets."""
        found, at = [], 0
        for span, kind in self.names:
            start = self.text.index(span, at)
            found.append(GoldEntity(span, start, at := start + len(span), kind))
        return tuple(found)

    def post(self, image: object = None) -> Post:
        """The sample as a post."""
        return Post(self.id, self.text, image, self.entities)


SAMPLES = (
    Sample("english", "#TeamObama: the Obamas and NATOs boss love my iPhone15 — Obama´s too", (
        ("Obama", "PER"), ("Obama", "PER"), ("NATO", "ORG"), ("iPhone15", "OTHER"), ("Obama", "PER"))),
    Sample("arabic", "محمد صلاح يسجل هدفين مع ليفربول في لندن وباريس! ⚽️🔥", (
        ("محمد صلاح", "PER"), ("ليفربول", "ORG"), ("لندن", "LOC"), ("باريس", "LOC"))),
    Sample("hebrew", "גל גדות הגיעה לתל אביב, וגם נועה קירל (@noakirel) שם 🇮🇱", (
        ("גל גדות", "PER"), ("תל אביב", "LOC"), ("נועה קירל", "PER"), ("noakirel", "PER"))),
    Sample("hindi", "विराट कोहली ने क्षत्रिय स्टेडियम, मुंबई में शतक बनाया 🏏👏🏽", (
        ("विराट कोहली", "PER"), ("क्षत्रिय स्टेडियम", "LOC"), ("मुंबई", "LOC"))),
    Sample("thai", "ลิซ่าแบล็กพิงก์กลับมาที่กรุงเทพมหานครแล้ว💛", (
        ("ลิซ่า", "PER"), ("แบล็กพิงก์", "ORG"), ("กรุงเทพมหานคร", "LOC"))),
    Sample("chinese", "蔡英文在2026年访问了东京，NBA球星勒布朗·詹姆斯也在！👨‍👩‍👧", (
        ("蔡英文", "PER"), ("东京", "LOC"), ("NBA", "ORG"), ("勒布朗·詹姆斯", "PER"))),
    Sample("japanese", "トランプ氏が東京タワーで大谷翔平さんとレディー・ガガに会った　任天堂Switch2で🎮", (
        ("トランプ", "PER"), ("東京タワー", "LOC"), ("大谷翔平", "PER"), ("レディー・ガガ", "PER"), ("任天堂", "ORG"),
        ("Switch2", "OTHER"))),
    Sample("korean", "손흥민이 서울에서 BTS의 지민과 만났다ㅋㅋ 삼성전자가 후원 ❤️", (
        ("손흥민", "PER"), ("서울", "LOC"), ("BTS", "ORG"), ("지민", "PER"), ("삼성전자", "ORG"))),
    Sample("amharic", "ቀነኒሳ በቀለ በአዲስ አበባ ሮጠ፡ ኢትዮጵያ አሸነፈች 🥇", (
        ("ቀነኒሳ በቀለ", "PER"), ("አዲስ አበባ", "LOC"), ("ኢትዮጵያ", "LOC"))),
    Sample("khmer", "លោកហ៊ុនសែនទៅទីក្រុងភ្នំពេញ🇰🇭", (("ហ៊ុនសែន", "PER"), ("ភ្នំពេញ", "LOC"))),
    Sample("myanmar", "အောင်ဆန်းစုကြည်က ရန်ကုန်မှာ", (("အောင်ဆန်းစုကြည်", "PER"), ("ရန်ကုန်", "LOC"))),
    Sample("lao", "ທ່ານທອງລຸນຢູ່ວຽງຈັນ", (("ທອງລຸນ", "PER"), ("ວຽງຈັນ", "LOC"))),
    Sample("cyrillic", "Обама в NikeМосква: Ё́жик и Київ’у", (
        ("Обама", "PER"), ("Nike", "ORG"), ("Москва", "LOC"), ("Київ", "LOC"))),
    Sample("decomposed", "Beyonce\u0301 et Zoe\u0308 Saldan\u0303a a\u0300 Nı̂mes", (
        ("Beyonce\u0301", "PER"), ("Zoe\u0308 Saldan\u0303a", "PER"), ("Nı̂mes", "LOC"))),
    Sample("jamo", "\u1109\u1161\u11b7\u1109\u1165\u11bc\u110b\u1175 좋다", (
        ("\u1109\u1161\u11b7\u1109\u1165\u11bc", "ORG"),)),
    Sample("spaces", "東京\u3000タワー\u00a0Ada\u200bBo", (
        ("東京\u3000タワー", "LOC"), ("Ada", "PER"), ("Bo", "PER"))),
)  # fmt: skip
"""Posts in many scripts. None of their names cuts a grapheme cluster."""

_WORDS = sorted({word for sample in SAMPLES for word in sample.text.split(" ")})
MIXED = st.lists(
    st.sampled_from(_WORDS)
    | st.text(st.sampled_from("aBs'_9é\u0301\u200d\u200b\ufe0f🇩🇫👩🏽漢ーかกํिक्षयंঅ각각שعአ\"\\\n\u3000"), max_size=6),
    max_size=7,
).map(lambda parts: " ".join(parts))
"""Texts of mixed scripts: words of the samples, and parts of clusters in any order."""
