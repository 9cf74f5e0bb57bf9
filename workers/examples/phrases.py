"""A phrasebook for travellers, English and Chinese: sentences with gaps, the words that fit in, and whole ones."""

import random
from collections.abc import Iterator
from pathlib import Path

from workers.examples.files import write_csv

Pair = tuple[str, str]

PLACES: tuple[Pair, ...] = (
    ("the train station", "火车站"), ("the bus station", "汽车站"), ("the airport", "机场"), ("the museum", "博物馆"),
    ("the hotel", "酒店"), ("the bank", "银行"), ("the post office", "邮局"), ("the hospital", "医院"),
    ("the pharmacy", "药店"), ("the supermarket", "超市"), ("the market", "市场"), ("the park", "公园"),
    ("the zoo", "动物园"), ("the library", "图书馆"), ("the police station", "警察局"), ("the city centre", "市中心"),
    ("the old town", "老城"), ("the beach", "海滩"), ("the harbour", "港口"), ("the university", "大学"),
    ("the swimming pool", "游泳池"), ("the temple", "寺庙"), ("the theatre", "剧院"), ("the cinema", "电影院"),
    ("the ticket office", "售票处"), ("the restaurant", "餐厅"), ("the bookshop", "书店"), ("the car park", "停车场"),
)  # fmt: skip
ORDERS: tuple[Pair, ...] = (
    ("a cup of coffee", "一杯咖啡"), ("a cup of tea", "一杯茶"), ("a glass of water", "一杯水"),
    ("a beer", "一杯啤酒"), ("an orange juice", "一杯橙汁"), ("a bowl of rice", "一碗米饭"),
    ("a bowl of noodles", "一碗面"), ("a bowl of soup", "一碗汤"), ("a fish", "一条鱼"), ("a salad", "一份沙拉"),
    ("a sandwich", "一个三明治"), ("an ice cream", "一个冰淇淋"), ("a cake", "一个蛋糕"), ("a breakfast", "一份早餐"),
    ("a map", "一张地图"), ("a ticket", "一张票"), ("a newspaper", "一份报纸"), ("an umbrella", "一把雨伞"),
    ("a towel", "一条毛巾"), ("a room", "一个房间"),
)  # fmt: skip
BELONGINGS: tuple[Pair, ...] = (
    ("passport", "护照"), ("suitcase", "行李箱"), ("bag", "包"), ("wallet", "钱包"), ("phone", "手机"),
    ("key", "钥匙"), ("camera", "相机"), ("ticket", "票"), ("coat", "外套"), ("umbrella", "雨伞"),
    ("glasses", "眼镜"), ("watch", "手表"), ("credit card", "信用卡"), ("medicine", "药"),
)  # fmt: skip
VEHICLES: tuple[Pair, ...] = (
    ("train", "火车"), ("bus", "公交车"), ("plane", "飞机"), ("boat", "船"), ("taxi", "出租车"), ("metro", "地铁"),
)  # fmt: skip
TIMES: tuple[Pair, ...] = (
    ("today", "今天"), ("tomorrow", "明天"), ("this morning", "今天早上"), ("this afternoon", "今天下午"),
    ("this evening", "今天晚上"), ("tomorrow morning", "明天早上"), ("tomorrow evening", "明天晚上"),
    ("on Monday", "星期一"), ("on Friday", "星期五"), ("on Sunday", "星期天"),
)  # fmt: skip
BODY: tuple[Pair, ...] = (
    ("head", "头"), ("tooth", "牙"), ("stomach", "肚子"), ("back", "背"), ("leg", "腿"), ("arm", "胳膊"),
    ("throat", "嗓子"), ("eye", "眼睛"), ("foot", "脚"), ("hand", "手"),
)  # fmt: skip
NUMBERS: tuple[Pair, ...] = (
    ("two", "两"), ("three", "三"), ("four", "四"), ("five", "五"), ("six", "六"), ("seven", "七"), ("eight", "八"),
    ("nine", "九"), ("ten", "十"),
)  # fmt: skip
# Each gap stands for one of its words, in both languages.
GAPS = {
    "place": PLACES, "order": ORDERS, "thing": BELONGINGS, "vehicle": VEHICLES, "time": TIMES, "part": BODY,
    "number": NUMBERS,
}  # fmt: skip
PATTERNS: tuple[Pair, ...] = (
    ("Where is {place}?", "{place}在哪里？"),
    ("How do I get to {place}?", "去{place}怎么走？"),
    ("Is {place} far from here?", "{place}离这里远吗？"),
    ("Please take me to {place}.", "请带我去{place}。"),
    ("I am looking for {place}.", "我在找{place}。"),
    ("When does {place} open?", "{place}几点开门？"),
    ("When does {place} close?", "{place}几点关门？"),
    ("We want to go to {place} {time}.", "我们{time}想去{place}。"),
    ("Is {place} open {time}?", "{place}{time}开门吗？"),
    ("Let us meet at {place} {time}.", "我们{time}在{place}见面吧。"),
    ("Does the {vehicle} go to {place}?", "{vehicle}去{place}吗？"),
    ("I would like {order}.", "我想要{order}。"),
    ("Could you bring me {order}?", "可以给我拿{order}吗？"),
    ("How much is {order}?", "{order}多少钱？"),
    ("My friend would like {order}.", "我的朋友想要{order}。"),
    ("I have lost my {thing}.", "我的{thing}丢了。"),
    ("Where is my {thing}?", "我的{thing}在哪里？"),
    ("This is not my {thing}.", "这不是我的{thing}。"),
    ("Somebody has stolen my {thing}.", "有人偷了我的{thing}。"),
    ("I left my {thing} in the {vehicle}.", "我把{thing}忘在{vehicle}上了。"),
    ("When does the {vehicle} leave?", "{vehicle}几点出发？"),
    ("When does the {vehicle} arrive?", "{vehicle}几点到？"),
    ("Is there a {vehicle} {time}?", "{time}有{vehicle}吗？"),
    ("We take the {vehicle} {time}.", "我们{time}坐{vehicle}。"),
    ("I am leaving {time}.", "我{time}离开。"),
    ("Are you free {time}?", "你{time}有空吗？"),
    ("My {part} hurts.", "我{part}疼。"),
    ("Does your {part} hurt?", "你{part}疼吗？"),
    ("We are {number} people.", "我们有{number}个人。"),
    ("We are staying for {number} days.", "我们住{number}天。"),
    ("I need {number} tickets.", "我需要{number}张票。"),
    ("A table for {number}, please.", "请给我们一张{number}个人的桌子。"),
    ("The {vehicle} leaves in {number} minutes.", "{vehicle}{number}分钟后出发。"),
)
MOST_OF_A_PATTERN = 48  # of what two gaps make together
SENTENCES: tuple[Pair, ...] = (
    ("Hello.", "你好。"), ("Good morning.", "早上好。"), ("Good evening.", "晚上好。"), ("Good night.", "晚安。"),
    ("Goodbye.", "再见。"), ("See you tomorrow.", "明天见。"), ("Thank you.", "谢谢。"),
    ("Thank you very much.", "非常感谢。"), ("You are welcome.", "不客气。"), ("Sorry.", "对不起。"),
    ("Excuse me.", "打扰一下。"), ("It does not matter.", "没关系。"), ("Yes.", "是的。"), ("No.", "不是。"),
    ("Please.", "请。"), ("Help!", "救命！"), ("Call the police!", "快叫警察！"), ("Call a doctor!", "快叫医生！"),
    ("How are you?", "你好吗？"), ("I am fine.", "我很好。"), ("What is your name?", "你叫什么名字？"),
    ("Nice to meet you.", "很高兴认识你。"), ("I do not understand.", "我不明白。"),
    ("Do you speak English?", "你会说英语吗？"), ("I do not speak Chinese.", "我不会说中文。"),
    ("Please speak more slowly.", "请说慢一点。"), ("Please say it again.", "请再说一遍。"),
    ("What does this mean?", "这是什么意思？"), ("How much is this?", "这个多少钱？"),
    ("That is too expensive.", "太贵了。"), ("Do you have something cheaper?", "有便宜一点的吗？"),
    ("I will take it.", "我要这个。"), ("Can I pay by card?", "可以刷卡吗？"), ("The bill, please.", "请结账。"),
    ("It tastes very good.", "很好吃。"), ("I do not eat meat.", "我不吃肉。"),
    ("Not too spicy, please.", "请不要太辣。"), ("I am hungry.", "我饿了。"), ("I am thirsty.", "我渴了。"),
    ("I am tired.", "我累了。"), ("I am ill.", "我病了。"), ("I am lost.", "我迷路了。"),
    ("Where are the toilets?", "洗手间在哪里？"), ("Turn left.", "往左拐。"), ("Turn right.", "往右拐。"),
    ("Go straight on.", "一直走。"), ("Stop here, please.", "请在这里停车。"), ("What time is it?", "现在几点？"),
    ("Wait a moment, please.", "请等一下。"), ("May I take a picture?", "可以拍照吗？"),
    ("Is there a wireless network here?", "这里有无线网络吗？"), ("It is raining.", "下雨了。"),
    ("It is very hot.", "很热。"), ("It is very cold.", "很冷。"), ("Have a good journey.", "一路平安。"),
    ("Cheers!", "干杯！"),
)  # fmt: skip


def write_phrases(path: Path) -> None:
    """All sentences, shuffled, as pairs of the columns english and chinese."""
    write_csv(path, ["english", "chinese"], phrases())


def phrases() -> list[Pair]:
    """English and Chinese. Of a pattern with two gaps a part of what they make together is drawn."""
    draw = random.Random(0)
    pairs = list(SENTENCES)
    for pattern in PATTERNS:
        filled = list(_filled(pattern, list(GAPS)))
        pairs += draw.sample(filled, min(len(filled), MOST_OF_A_PATTERN))
    draw.shuffle(pairs)
    return pairs


def _filled(pattern: Pair, gaps: list[str]) -> Iterator[Pair]:
    """The pattern with every choice of words for these gaps."""
    if not gaps:
        yield pattern
        return
    gap, *others = gaps
    place = f"{{{gap}}}"
    words = GAPS[gap] if place in pattern[0] else [("", "")]
    for english, chinese in words:
        yield from _filled((pattern[0].replace(place, english), pattern[1].replace(place, chinese)), others)
