use super::*;

#[test]
fn parameters_by_full_name_and_by_keyword() {
    let list = "Line;Host;Port;User Name;Client ID;Clean Session Flag;Subscribe QoS;Keep Alive;Wait Timeout;Will Flag;Will Topic;Will QoS;Station;Station address;SWT;SWP;FPT;FTF;Time Mask;Tag name;Type;Address;Noise band\n\
        L.MQTT;10.0.0.1,10.0.0.2;8883;kom;D2000kom;NO;QoS_2;60;0.1;YES;kom/state;QoS_1;S.Batt;status/batt.*;batt/will;gone;JSON;time;UNIXMS;B.V;Ai;JA=rx.v;0.5\n\
        ;;;;;;;;;;;;S.Batt;status/batt.*;;;;;;B.T;TxtI;IN_TOPIC;\n";
    let list = list.replace("\n;;;", "\nL.MQTT;;;");
    let imported = convert(&list).unwrap();
    let text: String = imported.files.iter().map(|(_, text)| text.as_str()).collect();
    for line in [
        "servers = [\"mqtts://10.0.0.1:8883\", \"mqtts://10.0.0.2:8883\"]",
        "user_name = { env = \"L_MQTT_USER\" }",
        "clean_session = false",
        "subscribe_qos = 2",
        "keep_alive = \"60s\"",
        "will = { topic = \"kom/state\", message = \"\", qos = 1, retain = false }",
        "will_topic = \"batt/will\"",
        "will_payload = \"gone\"",
        "payload_type = \"json\"",
        "time_field_name = \"time\"",
        "time_mask = \"UNIXMS\"",
        "# B.V: Noise band = 0.5",
        "B.V,S.Batt,Ai,JA=rx.v,,,,,",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(imported.notes.iter().any(|note| note.contains("Noise band")), "{:?}", imported.notes);
    assert_eq!((imported.lines, imported.stations, imported.tags), (1, 1, 2));
}

#[test]
fn mistakes_name_their_rows() {
    assert_eq!(convert("a,b\n").unwrap_err().len(), 4);
    let header = "Host,Client ID,Station address,Tag name,Type,Address\n";
    let mistakes = convert(&format!("{header}h,a,s,t,Ai,JA=x\nh,b,s,u,Ai,JA=y\n,,,v,Ai,JA=z\n"));
    assert_eq!(
        mistakes.unwrap_err(),
        ["3: `b` is another client_id than `a` in row 2", "4: the row has no station address"]
    );
    let mistakes = convert("sep=;\nHost;Station adress;Tag name;Type;Address\n").unwrap_err();
    assert_eq!(
        mistakes,
        ["2: the list has no column `Station address` (hint: is it `Station adress`?)"]
    );
    // Rows are lines of the file, also behind blank ones and cells over several lines.
    let mistakes = convert(&format!("{header}\nh,a,s,t,\"Ai\n\",JA=x\n,,s,u,,JA=y\n"));
    assert_eq!(mistakes.unwrap_err(), ["5: the row has no type"]);
    let mistakes = convert(
        "Line,Host,Station,Station address,Tag name,Type,Address\n\
         a,h,s,x,t,Ai,JA=x\nb,h,s,x,u,Ai,JA=x\n,,s,x,v,Ai,JA=y\na,,r,,w,Ai,JA=y\n",
    );
    assert_eq!(
        mistakes.unwrap_err(),
        [
            "4: the row names no `Line`, and the list has several",
            "5: the row has no station address"
        ]
    );
    let mistakes = convert("Station address,Tag name,Type,Address\ns,t,Ai,JA=x\n").unwrap_err();
    assert!(mistakes[0].contains("no `Host`"), "{mistakes:?}");
}

#[test]
fn lines_and_stations_are_named_once() {
    let imported = convert(
        "Station;Station address;Tag name;Type;Address;Line;Host;Start value\r\n\
         ;a/b;T1;Ai;JA=x;;;\r\n\
         Pumpe;a/b;T2;Ao;OUT_VALUE;Linie;h;1,5\r\n\
         Pumpe;;\"T;3\";TxtO;OUT_TOPIC;;;1,5\r\n",
    )
    .unwrap();
    assert_eq!((imported.lines, imported.stations, imported.tags), (1, 1, 3));
    let text: String = imported.files.iter().map(|(_, text)| text.as_str()).collect();
    for line in [
        "line = \"Linie\"",
        "name = \"Pumpe\"\naddress = \"a/b\"",
        "T1,Pumpe,Ai,JA=x,,,,,",
        "T2,Pumpe,Ao,OUT_VALUE,,,1.5,,",
        "T;3,Pumpe,TxtO,OUT_TOPIC,,,\"1,5\",,",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
